// Package shardstest runs the shards of a node within a test.
package shardstest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/store"
)

// waitMax is how long shards may take to start or to stop on a busy machine.
const waitMax = 30 * time.Second

// noMarkers is for a host that is started once.
type noMarkers struct{}

func (noMarkers) HasReplica(shards.ShardID, uint64) bool     { return false }
func (noMarkers) MarkReplica(shards.ShardID, uint64) error   { return nil }
func (noMarkers) UnmarkReplica(shards.ShardID, uint64) error { return nil }

// Start runs the system shard and the data shards in a directory of the test,
// until it ends. They are ready when it returns; the test fails if one of them
// cannot go on.
func Start(tb testing.TB, metrics prometheus.Registerer, data ...shards.ShardID) *shards.Host {
	tb.Helper()
	dir := tb.TempDir()
	st, err := store.Open(store.Config{Dir: dir + "/state"})
	require.NoError(tb, err)
	host, err := shards.Start(tb.Context(), shards.Config{
		NodeID: "9f1c6d1e-4f0e-4f0a-9a70-9d3a2e0c5b11", Dir: dir + "/raft",
	}, st, noMarkers{}, metrics, slog.New(slog.DiscardHandler), func(err error) { tb.Errorf("halted: %v", err) })
	require.NoError(tb, err)
	for _, shard := range append([]shards.ShardID{shards.SystemShard}, data...) {
		require.NoError(tb, host.StartReplica(shards.ReplicaSpec{Shard: shard, Replica: 1, First: true}))
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), waitMax)
		defer cancel()
		require.NoError(tb, host.Stop(ctx))
		require.NoError(tb, st.Close())
	})
	ctx, cancel := context.WithTimeout(tb.Context(), waitMax)
	defer cancel()
	require.NoError(tb, host.WaitReady(ctx))
	return host
}
