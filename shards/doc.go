// Package shards hosts the replicas of this node: it proposes commands to their
// Raft groups, answers reads from their state, and knows who leads. It and
// shards/replica alone know which consensus library does the work.
package shards

// ShardID names a shard: one Raft group, on which many namespaces live.
type ShardID uint64

// SystemShard hosts the system namespace and nothing else.
const SystemShard ShardID = 1
