// Package datadir owns the data directory of a node: that one process uses it
// at a time, who the node is, in which format its data is, and which replicas
// were ever started in it. What is inside state and raft belongs to shards.
//
//	DIR/LOCK            held by the running process, which writes its pid in it
//	DIR/identity.json   who the node is; written once
//	DIR/replicas.json   which replicas were started here; only grows
//	DIR/state/          the state of all shards
//	DIR/raft/           their Raft logs
//
// Both JSON files are replaced as a whole: after a crash the old or the new one
// is there.
package datadir
