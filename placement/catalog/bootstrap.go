package catalog

import (
	"cmp"
	"context"
	"errors"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
)

const (
	// firstNamespaceID is the number of the first namespace of a tenant; the
	// ones before it are the platform's.
	firstNamespaceID = 1024
	// replicationDefault is how many voters a shard has, once there are nodes
	// enough.
	replicationDefault = 3
)

// Bootstrap is what a cluster begins with: its first node, which runs the system
// shard already.
type Bootstrap struct {
	// ClusterID is the cluster's UUID.
	ClusterID string
	// NodeID is the node's UUID.
	NodeID string
	// Node is what the node says of itself; its state and times are set here.
	Node *internalv1.NodeRecord
	// DataShards are the shards that namespaces are placed on.
	DataShards []shards.ShardID
	// Replication is how many voters a shard has, once there are nodes enough. It
	// is odd; default 3.
	Replication int
}

// EnsureCluster writes the records of a new cluster, with a first replica of
// each shard on its only node. Those of a cluster from before nodes were
// recorded get what they lack. On one that is complete it changes nothing.
func (c *Catalog) EnsureCluster(ctx context.Context, b Bootstrap) error {
	err := retryConflicts(ctx, func() error { return c.ensureCluster(ctx, b) })
	if errors.Is(err, ErrConflict) {
		return nil // somebody else wrote them
	}
	return err
}

func (c *Catalog) ensureCluster(ctx context.Context, b Bootstrap) error {
	cluster, err := read(ctx, c, clusterKey, &internalv1.ClusterRecord{})
	if err != nil || cluster.message.GetClusterId() != "" {
		return err
	}
	list, err := c.dataShards(ctx)
	if err != nil {
		return err
	}
	var t change
	if !cluster.exists() {
		cluster.message.NextNamespaceId = firstNamespaceID
		for _, id := range b.DataShards {
			t.replace(shardKey(id), 0, &internalv1.ShardRecord{})
			// The node's agent starts it.
			t.replace(placementKey(id), 0, lonePlacement(b.NodeID, internalv1.ReplicaState_REPLICA_STATE_FIRST))
		}
	}
	for _, s := range list { // of a cluster from before: they run
		t.replace(placementKey(s.id), 0, lonePlacement(b.NodeID, internalv1.ReplicaState_REPLICA_STATE_VOTER))
	}
	t.replace(placementKey(shards.SystemShard), 0, lonePlacement(b.NodeID, internalv1.ReplicaState_REPLICA_STATE_VOTER))
	t.replace(nodeKey(b.NodeID), 0, NewNode(b.Node, c.now()))
	cluster.message.ClusterId = b.ClusterID
	cluster.message.Level = b.Node.GetLevel()
	cluster.message.Replication = uint32(cmp.Or(b.Replication, replicationDefault))
	t.replace(clusterKey, cluster.revision, cluster.message)
	return c.commit(ctx, &t)
}

// lonePlacement is the placement of a shard with one replica.
func lonePlacement(node string, state internalv1.ReplicaState) *internalv1.PlacementRecord {
	return &internalv1.PlacementRecord{
		Replicas:      []*internalv1.ReplicaRecord{{ReplicaId: shards.FirstReplica, NodeId: node, State: state}},
		NextReplicaId: shards.FirstReplica + 1,
	}
}
