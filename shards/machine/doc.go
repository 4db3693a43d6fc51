// Package machine is the deterministic heart of a shard: it applies the
// commands of the Raft log to the shard's state, each as one transaction. It is
// pure. Storage is the Batch that it is given, and time is the entry's time, so
// the same log gives the same state and answers on every replica:
//
//	R1: the applied index is written in the same batch as its effects (Finish).
//	R3: a refusal is a Result; a Go error means that the replica cannot go on.
//	R4: the same log gives the same state, byte for byte.
//
// One file per family of commands: kv.go, compact.go, lease.go.
package machine
