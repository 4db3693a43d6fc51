// Package peer carries operations on shards between nodes. A gateway on any node
// serves any namespace: what its own node cannot do it asks of another, on the
// peer port.
//
//	node A                                              node B
//	Pool → link: lines by tenant → sender ─┐        ┌─ Server → shards.Host
//	                                       ├ stream ┤
//	callers ←──────────────── receiver ────┘        └─ answers, in batches
//
// Between two nodes there is one stream for all callers. What waits while a
// message is written goes with the next one, so messages grow with the load and a
// lone caller waits for no company; tenants have fair shares of the stream, as
// they have of a shard, and of what may be asked and not answered (L1, in flight.go).
//
// E1: an operation that fails with *shards.UnreachableError was not written to a
// stream, so it surely was not applied. Once it was written and its answer does
// not come, a command fails with shards.ErrOutcomeUnknown.
//
// E2: the commands of one tenant for one node reach its shards in the order of
// their submission, for as long as the stream lasts. When it ends all fail.
//
// A link that is silent for too long while something is asked of it is cut, so a
// node that stands still holds nobody for longer than that.
//
// Watches have a stream for each caller: they are slow as their callers are.
package peer
