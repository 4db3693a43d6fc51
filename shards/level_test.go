package shards_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
)

// TestShardsComeToTheLevelOfTheCluster has a shard account for what it stores only
// once the host was told that all nodes know of it.
func TestShardsComeToTheLevelOfTheCluster(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{MaintenanceInterval: time.Millisecond})
	accounted := func() (bool, error) {
		now := time.Now().Add(time.Hour).UnixMilli()
		response, err := n.host.Query(t.Context(), dataShard, 10, shards.Linearizable, &internalv1.StoredUsageRequest{
			StartHour: uint64(now/3_600_000 - 2), EndHour: uint64(now/3_600_000 + 1), NowMs: uint64(now),
		})
		stored, _ := response.(*internalv1.StoredUsageResponse)
		return len(stored.GetHours()) > 0, err
	}
	n.put(10, "a", "1")
	n.host.SetLevel(1)
	for range 50 { // each is an entry after which maintenance looks again
		n.put(10, "a", "2")
	}
	before, err := accounted()
	require.NoError(t, err)
	require.False(t, before)
	n.host.SetLevel(machine.Level)
	require.Eventually(t, func() bool {
		now, err := accounted()
		return err == nil && now
	}, waitMax, 5*time.Millisecond)
	n.stop()
	n.start()
	after, err := accounted()
	require.NoError(t, err)
	require.True(t, after)
}
