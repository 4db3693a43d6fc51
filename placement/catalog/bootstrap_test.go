package catalog_test

import (
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

// Shards can be added; namespaces are placed on them once they have a replica.
func TestAddShards(t *testing.T) {
	t.Parallel()
	c := catalogtest.New(t, catalogtest.NewHost(shardstest.Start(t, prometheus.NewRegistry(), 2)))
	ctx := t.Context()
	require.NoError(t, c.CreateTenant(ctx, "t"))
	_, err := c.CreateNamespaces(ctx, "t", []string{"a"}, limits)
	require.ErrorIs(t, err, catalog.ErrNoShard)
	require.NoError(t, c.AddShards(ctx, 2))
	require.NoError(t, c.AddShards(ctx, 1))
	_, err = c.CreateNamespaces(ctx, "t", []string{"a"}, limits)
	require.ErrorIs(t, err, catalog.ErrNoShard, "none has a replica")
	for _, id := range []shards.ShardID{3, 4} {
		require.NoError(t, c.ChangePlacement(ctx, id, func(p *internalv1.PlacementRecord) bool {
			p.Replicas = append(p.Replicas, &internalv1.ReplicaRecord{ReplicaId: p.GetNextReplicaId(), NodeId: "n", State: first})
			p.NextReplicaId++
			return true
		}))
	}
	_, err = c.CreateNamespaces(ctx, "t", []string{"a", "b", "c"}, limits)
	require.NoError(t, err)
	used := map[shards.ShardID]int{}
	for _, name := range []string{"a", "b", "c"} {
		route, err := c.Route(ctx, "t", name)
		require.NoError(t, err)
		used[route.Shard]++
	}
	require.Equal(t, map[shards.ShardID]int{3: 2, 4: 1}, used)
	for _, n := range []int{0, -1, 1022} {
		require.ErrorIs(t, c.AddShards(ctx, n), catalog.ErrTooManyShards)
	}
}

// A change of records that others changed meanwhile changes nothing.
func TestCommitConflicts(t *testing.T) {
	t.Parallel()
	c := catalogtest.New(t, catalogtest.NewHost(shardstest.Start(t, prometheus.NewRegistry())))
	ctx := t.Context()
	records, err := c.Records(ctx)
	require.NoError(t, err)
	require.NoError(t, c.Drain(ctx, catalogtest.NodeID))
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
