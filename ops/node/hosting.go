package node

import (
	"context"
	"errors"

	"github.com/flotillakv/flotilla/placement/catalog"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/transport"
)

// startHost starts the engine of the node's replicas, without any.
func (n *Node) startHost(ctx context.Context) (func() error, error) {
	if !n.hosts() {
		return nothing, nil
	}
	identity := n.dir.Identity()
	cfg := n.cfg.Shards
	cfg.NodeID, cfg.Dir, cfg.LogStores = identity.NodeID, n.dir.Raft(), identity.LogStoreShards
	if n.ports.raft != nil {
		cfg.Transport = transport.New(transport.Config{
			NodeID: identity.NodeID, ClusterID: identity.ClusterID,
			Listener: n.ports.raft, ServerTLS: n.tls.clusterServer, ClientTLS: n.tls.clusterClient,
			Resolve: n.raftAddress,
			Source:  source(n.cfg.ListenRaft), SnapshotBytesPerSecond: n.cfg.SnapshotBytesPerSecond, Log: n.cfg.Log,
		}, n.metrics)
	}
	host, err := shards.Start(ctx, cfg, n.store, n.dir, n.metrics, n.cfg.Log, n.fail)
	if err != nil {
		return nil, err
	}
	n.host = host
	n.metrics.MustRegister(newStoreCollector(n.store.Metrics, n.dir.Path(), host.ReadOnly))
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		return host.Stop(ctx)
	}, nil
}

// startReplicas starts the replicas that ran here before, without asking anybody:
// the catalog itself may need them. A new cluster begins with its system shard.
func (n *Node) startReplicas(context.Context) (func() error, error) {
	if !n.hosts() {
		return nothing, nil
	}
	replicas := n.dir.Replicas()
	// A bootstrap that was cut short is gone on with. Not so if the node knows of
	// a cluster: then its replicas were moved away.
	n.bootstraps = n.bootstraps || n.cfg.Bootstrap && len(replicas) == 0 && n.directory.ClusterID() == ""
	if n.bootstraps && len(replicas) == 0 {
		return nothing, n.host.StartReplica(shards.ReplicaSpec{Shard: shards.SystemShard, Replica: shards.FirstReplica, First: true})
	}
	for _, r := range replicas {
		err := n.host.StartReplica(shards.ReplicaSpec{Shard: r.Shard, Replica: r.Replica})
		if missing, ok := errors.AsType[*shards.LogMissingError](err); ok && n.replaceable(r.Shard, r.Replica) {
			n.cfg.Log.Error("a replica is not started and has to be replaced", "shard_id", uint64(r.Shard), "replica_id", r.Replica, "err", missing)
			continue
		}
		if err != nil {
			return nil, err
		}
	}
	return nothing, nil
}

// replaceable tells whether a shard has voters on other nodes, as far as is
// known, from which a new replica here would be filled.
func (n *Node) replaceable(shard shards.ShardID, replica uint64) bool {
	for _, other := range n.directory.Placement(shard).GetReplicas() {
		if other.GetReplicaId() != replica && other.GetState() == internalv1.ReplicaState_REPLICA_STATE_VOTER {
			return true
		}
	}
	return false
}

// dataShards are the shards of a cluster that is made now.
func (n *Node) dataShards() []shards.ShardID {
	count := n.cfg.DataShards
	if count == 0 {
		count = DataShardsDefault
	}
	ids := make([]shards.ShardID, count)
	for i := range ids {
		ids[i] = shards.SystemShard + 1 + shards.ShardID(i)
	}
	return ids
}

// bootstrap is what a cluster begins with that is made of this node.
func (n *Node) bootstrap() catalog.Bootstrap {
	return catalog.Bootstrap{
		ClusterID: n.dir.Identity().ClusterID, NodeID: n.dir.Identity().NodeID,
		Node: n.record(), DataShards: n.dataShards(), Replication: n.cfg.Replication,
	}
}
