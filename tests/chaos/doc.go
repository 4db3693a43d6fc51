// Package chaos kills a real node at random moments and looks for what a crash
// could break: a write that was acknowledged and is gone, a write that
// happened twice, a refused write that happened, a revision that goes back.
//
// It is kill -9: what the operating system holds for the process survives. What
// a loss of power takes is the matter of shards/store, whose tests drop what
// was not synced.
package chaos
