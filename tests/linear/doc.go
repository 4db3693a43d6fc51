// Package linear checks that what concurrent callers of real nodes see could have
// happened one call after the other, each between its start and its end. The
// checker is porcupine; this package has the sequential model, the callers that
// make a history, through the Go client and through the etcd v3 API, and histories
// that are wrong, which the checker must refuse.
//
// A write whose outcome is not known may have happened at any time after its
// start, so it ends with the history. Writes that were surely not applied and
// reads that failed are left out: they say nothing.
//
// Clusters suffer meanwhile what a seed says, see allFaults: nodes are killed,
// paused, cut off one way or both, slowed down, stopped, replaced, and their clocks
// are set. `make chaos` has them suffer for long. Watches and leases are held to
// their word in the same cluster. That the checker notices a node which serves
// stale reads is tested too: see shards/fault.
package linear
