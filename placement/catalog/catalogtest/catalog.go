package catalogtest

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
)

// Who the cluster and the node of New are.
const (
	ClusterID = "5a0c4b3e-7f35-4f0f-8d2a-0c8b6a4f2d10"
	NodeID    = "9f1c6d1e-4f0e-4f0a-9a70-9d3a2e0c5b11"
	BootID    = "b007b007-0000-4000-8000-000000000001"
)

// Bootstrap is a cluster of one node with some data shards.
func Bootstrap(data ...shards.ShardID) catalog.Bootstrap {
	return catalog.Bootstrap{
		ClusterID: ClusterID, NodeID: NodeID, DataShards: data,
		Node: &internalv1.NodeRecord{Name: "one", Hosts: true, Level: 1, BootId: BootID},
	}
}

// New makes a catalog over a host, with the records of a cluster. What it knows
// is not kept true: each look-up reads.
func New(tb testing.TB, host catalog.Host, data ...shards.ShardID) *catalog.Catalog {
	tb.Helper()
	c, err := catalog.New(host, catalog.NewDirectory(), catalog.Config{}, time.Now, slog.New(slog.DiscardHandler))
	require.NoError(tb, err)
	require.NoError(tb, c.EnsureCluster(tb.Context(), Bootstrap(data...)), "also of a cluster that has its records")
	return c
}
