// Package plan decides what placement does next: a View of the cluster and a
// Policy give the steps, each a change of one record with the reason in words. It
// is pure; it never reads or writes a record itself.
//
// What it wants: each shard has as many voters as the cluster's replication, on
// nodes of different zones, each node with its share of replicas and leaders. What
// it never gives up for that:
//
//	Q1: after each step the voters that are alive are a quorum. A shard whose
//	    quorum is gone is left alone until it is back.
//	Q2: two replicas of a shard are never on one node, and no replica id is ever
//	    given twice.
//	Q3: a shard has one change on its way at a time.
//
// A shard has an odd number of voters but for the moment between two steps: an
// even number survives no more failures than one less. So a group grows by two,
// and only when both are there and caught up; and a voter is replaced in the order
// in which the group depends on fewer nodes meanwhile. Of three voters one of
// which is dead, both that live are needed; without the dead one still the same
// two; with a fourth voter all three. So a dead voter goes before its replacement
// votes, and a living one after.
//
// A view is old as soon as it is read. Steps are therefore changes by
// compare-and-set of the record that they were planned on, and those who carry
// them out look at the Raft group itself.
package plan
