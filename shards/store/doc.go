// Package store keeps the data of this node's shards in one Pebble, which it
// alone imports: the key layout, batches, views, snapshots and flushing. It
// gives rows no meaning; that is shards/mvcc's and shards/machine's.
//
// DESIGN.md tells what survives a crash and why. In short:
//
//	S1: a shard's state after a crash is its state after one of its committed
//	    batches, never between two and never out of order.
//	S2: what was committed before a Flush began is there after it returned.
//	S3: Restore and Destroy replace a shard's data in one step, which is
//	    durable when they return; no other shard's data is touched.
//	S4: one batch of a shard is open at a time, and none during Restore or
//	    Destroy. Views and snapshots are free to overlap with everything.
//
// S1 and R1 together make the Raft log the only write-ahead log.
//
// Locks: Pebble calls the store's event listener and logger with locks of its
// own held, so Pebble is never called under Store.mu or flusher.mu.
package store
