// Package placement keeps the shards of a cluster where they should be, and knows
// who belongs to it. It has four parts, of which each node runs all:
//
//   - Membership answers nodes that come: who is here, and may they join.
//   - Life keeps the node's sign of life in the catalog.
//   - Agent does on its node what the records ask for: it starts and drops
//     replicas, and changes the Raft groups of the shards that the node leads.
//   - Loop decides, on the node that leads the system shard alone: it observes the
//     records, has placement/plan plan, and writes down the steps.
//
// They meet only in the records of placement/catalog. Each step of a replica's life
// is taken by one of them (see ReplicaState in record.proto), as a change of the
// record by compare-and-set, and each does nothing if it is done again. So any of
// them may stop at any moment, on any node, and another goes on.
package placement
