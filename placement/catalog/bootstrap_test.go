package catalog_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/placement/catalog/catalogtest"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/shardstest"
	"github.com/flotillakv/flotilla/tenancy"
)

var limits = tenancy.Limits{}.WithDefaults()

// A new cluster is one node that votes alone; its data shards are to be started.
func TestBootstrap(t *testing.T) {
	t.Parallel()
	c := catalogtest.New(t, catalogtest.NewHost(shardstest.Start(t, prometheus.NewRegistry(), 2)), 2, 3)
	records, err := c.Records(t.Context())
	require.NoError(t, err)
	require.Equal(t, catalogtest.ClusterID, records.Directory.GetCluster().GetClusterId())
	require.EqualValues(t, 3, records.Directory.GetCluster().GetReplication())
	require.EqualValues(t, 1, records.Directory.GetCluster().GetLevel())
	require.Equal(t, active, records.Directory.GetNodes()[catalogtest.NodeID].GetState())
	require.Empty(t, records.Live)
	for id, state := range map[uint64]internalv1.ReplicaState{1: voter, 2: first, 3: first} {
		require.True(t, proto.Equal(&internalv1.PlacementRecord{
			Replicas:      []*internalv1.ReplicaRecord{{ReplicaId: 1, NodeId: catalogtest.NodeID, State: state}},
			NextReplicaId: 2,
		}, records.Directory.GetPlacements()[id]), "shard %d", id)
	}
	require.Len(t, records.Directory.GetPlacements(), 3)
}

// A cluster from before nodes were recorded keeps its namespaces, and gets a node
// that runs what is there.
func TestBootstrapOfAnOlderCluster(t *testing.T) {
	t.Parallel()
	host := catalogtest.NewHost(shardstest.Start(t, prometheus.NewRegistry(), 2))
	for key, record := range map[string]proto.Message{
		"cluster":  &internalv1.ClusterRecord{NextNamespaceId: 4711},
		"shards/2": &internalv1.ShardRecord{Namespaces: 5}, "shards/10": &internalv1.ShardRecord{},
	} {
		value, err := proto.Marshal(record)
		require.NoError(t, err)
		_, err = host.Propose(t.Context(), shards.SystemShard, tenancy.SystemTenant, &internalv1.Command{
			NamespaceId: uint64(tenancy.SystemNamespace), Epoch: 1,
			Operation: &internalv1.Command_Put{Put: &flotillav1.PutRequest{Key: []byte(key), Value: value}},
		})
		require.NoError(t, err)
	}
	c := catalogtest.New(t, host, 2, 3, 4)
	records, err := c.Records(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 4711, records.Directory.GetCluster().GetNextNamespaceId())
	require.Equal(t, catalogtest.ClusterID, records.Directory.GetCluster().GetClusterId())
	require.Len(t, records.Directory.GetPlacements(), 3)
	for _, id := range []uint64{1, 2, 10} {
		require.Equal(t, voter, records.Directory.GetPlacements()[id].GetReplicas()[0].GetState())
	}
}

// Shards can be added: each begins on the node that has the fewest, among those that
// live, and namespaces are placed on it.
func TestGrowShards(t *testing.T) {
	t.Parallel()
	c := catalogtest.New(t, catalogtest.NewHost(shardstest.Start(t, prometheus.NewRegistry(), 2)))
	ctx := t.Context()
	require.NoError(t, c.CreateTenant(ctx, "t"))
	_, err := c.CreateNamespaces(ctx, "t", []string{"a"}, limits)
	require.ErrorIs(t, err, catalog.ErrNoShard)
	require.NoError(t, c.GrowShards(ctx, 1), "on the only node, which shows no sign of life")

	records, err := c.Records(ctx)
	require.NoError(t, err)
	change := records.Change()
	for id, node := range map[string]*internalv1.NodeRecord{
		"n2": {Hosts: true, State: active, BootId: "b"}, "n3": {Hosts: true, State: active},
		"gateway": {State: active}, "removed": {Hosts: true, State: removed}, "dead": {Hosts: true, State: active, DeadSinceMs: 1},
	} {
		change.PutNode(id, node)
	}
	require.NoError(t, c.Commit(ctx, change))
	require.NoError(t, c.GrowShards(ctx, 4))
	lease, err := c.GrantLiveLease(ctx, 10*time.Second)
	require.NoError(t, err)
	require.NoError(t, c.ShowLive(ctx, "n2", "b", lease))
	var nodes sync.WaitGroup
	errs := make([]error, 3)
	for i := range errs { // each asks for what its --data-shards says
		nodes.Go(func() { errs[i] = c.GrowShards(ctx, 5) })
	}
	nodes.Wait()
	require.NoError(t, errors.Join(errs...))
	require.NoError(t, c.GrowShards(ctx, 2), "none is taken away")

	records, err = c.Records(ctx)
	require.NoError(t, err)
	on := map[uint64]string{}
	for id, placed := range records.Directory.GetPlacements() {
		require.Len(t, placed.GetReplicas(), 1)
		require.EqualValues(t, 2, placed.GetNextReplicaId())
		if id != uint64(shards.SystemShard) {
			require.Equal(t, first, placed.GetReplicas()[0].GetState())
		}
		on[id] = placed.GetReplicas()[0].GetNodeId()
	}
	require.Equal(t, map[uint64]string{1: catalogtest.NodeID, 2: catalogtest.NodeID, 3: "n2", 4: "n3", 5: "n2", 6: "n2"}, on)
	_, err = c.CreateNamespaces(ctx, "t", []string{"a", "b", "c", "d", "e", "f"}, limits)
	require.NoError(t, err)
	used := map[shards.ShardID]int{}
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		route, err := c.Route(ctx, "t", name)
		require.NoError(t, err)
		used[route.Shard]++
	}
	require.Equal(t, map[shards.ShardID]int{2: 2, 3: 1, 4: 1, 5: 1, 6: 1}, used)
	require.ErrorIs(t, c.GrowShards(ctx, 1025), catalog.ErrTooManyShards)
	require.NoError(t, c.EndLive(ctx, lease))
	for _, id := range []string{catalogtest.NodeID, "n2", "n3"} {
		require.NoError(t, c.Drain(ctx, id, ""))
	}
	require.ErrorIs(t, c.GrowShards(ctx, 6), catalog.ErrNoNode)
}

// A change of records that others changed meanwhile changes nothing.
func TestCommitConflicts(t *testing.T) {
	t.Parallel()
	c := catalogtest.New(t, catalogtest.NewHost(shardstest.Start(t, prometheus.NewRegistry())))
	ctx := t.Context()
	records, err := c.Records(ctx)
	require.NoError(t, err)
	require.NoError(t, c.Drain(ctx, catalogtest.NodeID, ""))
	change := records.Change()
	change.PutPlacement(9, &internalv1.PlacementRecord{})
	change.PutNode(catalogtest.NodeID, &internalv1.NodeRecord{Name: "lost update"})
	require.ErrorIs(t, c.Commit(ctx, change), catalog.ErrConflict)
	placed, err := c.Placement(ctx, 9)
	require.NoError(t, err)
	require.Nil(t, placed)

	records, err = c.Records(ctx)
	require.NoError(t, err)
	change = records.Change()
	change.PutPlacement(9, &internalv1.PlacementRecord{NextReplicaId: 1})
	change.PutCluster(&internalv1.ClusterRecord{ClusterId: "x"})
	require.NoError(t, c.Commit(ctx, change))
	placed, err = c.Placement(ctx, 9)
	require.NoError(t, err)
	require.EqualValues(t, 1, placed.GetNextReplicaId())
}

// A sign of life belongs to who joined last.
func TestLive(t *testing.T) {
	t.Parallel()
	c := catalogtest.New(t, catalogtest.NewHost(shardstest.Start(t, prometheus.NewRegistry())))
	ctx := t.Context()
	lease, err := c.GrantLiveLease(ctx, 10*time.Second)
	require.NoError(t, err)
	require.ErrorIs(t, c.ShowLive(ctx, "nobody", catalogtest.BootID, lease), catalog.ErrNodeNotFound)
	require.NoError(t, c.ShowLive(ctx, catalogtest.NodeID, catalogtest.BootID, lease))
	require.NoError(t, c.ShowLive(ctx, catalogtest.NodeID, catalogtest.BootID, lease))
	kept, err := c.KeepLive(ctx, lease)
	require.NoError(t, err)
	require.True(t, kept)
	records, err := c.Records(ctx)
	require.NoError(t, err)
	require.Equal(t, map[string]string{catalogtest.NodeID: catalogtest.BootID}, records.Live)

	change := records.Change()
	change.PutNode(catalogtest.NodeID, &internalv1.NodeRecord{BootId: "another"})
	require.NoError(t, c.Commit(ctx, change))
	var cloned *catalog.ClonedError
	require.ErrorAs(t, c.ShowLive(ctx, catalogtest.NodeID, catalogtest.BootID, lease), &cloned)
	require.Equal(t, "another", cloned.BootID)
	other, err := c.GrantLiveLease(ctx, 10*time.Second)
	require.NoError(t, err)
	require.NoError(t, c.ShowLive(ctx, catalogtest.NodeID, "another", other))
	require.NoError(t, c.EndLive(ctx, lease))
	records, err = c.Records(ctx)
	require.NoError(t, err)
	require.Equal(t, map[string]string{catalogtest.NodeID: "another"}, records.Live, "the earlier lease does not hold it")
	require.NoError(t, c.EndLive(ctx, other))
	kept, err = c.KeepLive(ctx, other)
	require.NoError(t, err)
	require.False(t, kept)
	records, err = c.Records(ctx)
	require.NoError(t, err)
	require.Empty(t, records.Live)
}
