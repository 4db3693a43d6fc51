// Package linear checks that what concurrent callers of the Go client see of a
// real node could have happened one call after the other, each between its
// start and its end. The checker is porcupine; this package has the sequential
// model, the callers that make a history, and histories that are wrong, which
// the checker must refuse.
//
// A write whose outcome is not known may have happened at any time after its
// start, so it ends with the history. Writes that were surely not applied and
// reads that failed are left out: they say nothing.
package linear
