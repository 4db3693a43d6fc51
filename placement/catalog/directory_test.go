package catalog_test

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/placement/catalog/catalogtest"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/shardstest"
)

const (
	active   = internalv1.NodeState_NODE_STATE_ACTIVE
	draining = internalv1.NodeState_NODE_STATE_DRAINING
	removed  = internalv1.NodeState_NODE_STATE_REMOVED

	first      = internalv1.ReplicaState_REPLICA_STATE_FIRST
	adding     = internalv1.ReplicaState_REPLICA_STATE_ADDING
	catchingUp = internalv1.ReplicaState_REPLICA_STATE_CATCHING_UP
	voter      = internalv1.ReplicaState_REPLICA_STATE_VOTER
)

// Whom to ask for a shard: the wished-for leader, voters, others; then those of
// whom little is to be expected. Who is to be added runs nothing yet.
func TestHosts(t *testing.T) {
	t.Parallel()
	d := catalog.NewDirectory()
	require.Empty(t, d.Hosts(7))
	require.Empty(t, d.Address("v1"))
	replica := func(id uint64, node string, state internalv1.ReplicaState) *internalv1.ReplicaRecord {
		return &internalv1.ReplicaRecord{ReplicaId: id, NodeId: node, State: state}
	}
	seed := &internalv1.Directory{
		Revision: 5,
		Nodes: map[string]*internalv1.NodeRecord{
			"v1": {State: active, PeerAddress: "a:1", RaftAddress: "a:2"}, "v2": {State: active}, "n": {State: active},
			"drained": {State: draining}, "dead": {State: active, DeadSinceMs: 1}, "new": {State: active},
		},
		Placements: map[uint64]*internalv1.PlacementRecord{7: {
			LeaderNodeId: "v2",
			Replicas: []*internalv1.ReplicaRecord{
				replica(1, "drained", voter), replica(2, "dead", voter), replica(3, "n", catchingUp),
				replica(4, "v1", voter), replica(5, "v2", voter), replica(6, "new", adding),
			},
		}},
		Cluster: &internalv1.ClusterRecord{ClusterId: "c", Level: 3},
	}
	d.Seed(seed)
	require.Equal(t, []string{"v2", "v1", "n", "drained", "dead"}, d.Hosts(7))
	require.Equal(t, "a:1", d.Address("v1"))
	require.Equal(t, "a:2", d.RaftAddress("v1"))
	require.Equal(t, "c", d.ClusterID())
	require.EqualValues(t, 3, d.Level())

	earlier := proto.CloneOf(seed)
	earlier.Revision, earlier.Nodes = 4, nil
	d.Seed(earlier)
	require.Len(t, d.Nodes(), 6, "D1")
	later := proto.CloneOf(earlier)
	later.Revision = 6
	d.Seed(later)
	require.Empty(t, d.Nodes())
}

// A directory follows the records, tells of it, and is not disturbed by what
// concerns only tenants.
func TestDirectoryFollows(t *testing.T) {
	t.Parallel()
	host := catalogtest.NewHost(shardstest.Start(t, prometheus.NewRegistry(), 2))
	operator := catalogtest.New(t, host, 2)
	node := follow(t, host, catalog.Config{})
	ctx := t.Context()
	told := make(chan *internalv1.Directory)
	go node.directory.OnChange(ctx, func(d *internalv1.Directory) {
		select {
		case told <- d:
		case <-ctx.Done():
		}
	})
	until := func(cond func(*internalv1.Directory) bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, waitMax)
		defer cancel()
		for {
			select {
			case d := <-told:
				if cond(d) {
					return
				}
			case <-ctx.Done():
				require.Fail(t, "it was not told")
			}
		}
	}
	until(func(d *internalv1.Directory) bool { return d.GetCluster().GetClusterId() == catalogtest.ClusterID })
	require.Equal(t, []string{catalogtest.NodeID}, node.directory.Hosts(shards.SystemShard))
	require.Equal(t, []string{catalogtest.NodeID}, node.directory.Hosts(2))

	require.NoError(t, operator.Drain(ctx, catalogtest.NodeID, ""))
	until(func(d *internalv1.Directory) bool { return d.GetNodes()[catalogtest.NodeID].GetState() == draining })
	before := node.directory.Records()
	require.NoError(t, operator.CreateTenant(ctx, "t"))
	_, err := operator.CreateNamespaces(ctx, "t", []string{"a"}, limits)
	require.NoError(t, err)
	require.Same(t, before, node.directory.Records())
	require.NoError(t, operator.ChangePlacement(ctx, 2, func(p *internalv1.PlacementRecord) bool {
		p.Replicas[0].State = voter
		return true
	}))
	until(func(d *internalv1.Directory) bool { return d.GetPlacements()[2].GetReplicas()[0].GetState() == voter })
	require.ErrorIs(t, operator.Drain(ctx, "nobody", ""), catalog.ErrNodeNotFound)
	require.NoError(t, operator.Activate(ctx, catalogtest.NodeID))
	require.NoError(t, operator.Drain(ctx, catalogtest.NodeID, "another process"))
	records, err := operator.Records(ctx)
	require.NoError(t, err)
	require.Equal(t, internalv1.NodeState_NODE_STATE_ACTIVE, records.Directory.GetNodes()[catalogtest.NodeID].GetState(), "it is another one's to say")
	change, gone := records.Change(), proto.CloneOf(records.Directory.GetNodes()[catalogtest.NodeID])
	gone.State = internalv1.NodeState_NODE_STATE_REMOVED
	change.PutNode(catalogtest.NodeID, gone)
	require.NoError(t, operator.Commit(ctx, change))
	require.ErrorIs(t, operator.Activate(ctx, catalogtest.NodeID), catalog.ErrNodeRemoved)
}
