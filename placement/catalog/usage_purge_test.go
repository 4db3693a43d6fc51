package catalog_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/placement/catalog/catalogtest"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/shardstest"
	"github.com/flotillakv/flotilla/tenancy"
)

// TestUsageOutlivesTheNamespace: what a namespace has stored is billed also when it is
// gone, and once.
func TestUsageOutlivesTheNamespace(t *testing.T) {
	t.Parallel()
	shards := shardstest.Start(t, prometheus.NewRegistry(), 2)
	shards.SetLevel(machine.Level)
	host := catalogtest.NewHost(shards)
	now := time.Now()
	catalogtest.New(t, host, 2)
	c, err := catalog.New(host, catalog.NewDirectory(), catalog.Config{}, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.NoError(t, c.CreateTenant(t.Context(), "acme"))
	_, err = c.CreateNamespaces(t.Context(), "acme", []string{"a"}, tenancy.Limits{}.WithDefaults())
	require.NoError(t, err)
	route, err := c.Route(t.Context(), "acme", "a")
	require.NoError(t, err)
	stored := func() (uint64, error) {
		now = now.Add(time.Minute)
		response, err := host.Query(t.Context(), route.Shard, route.Namespace, 0, &internalv1.StoredUsageRequest{
			EndHour: uint64(now.Unix())/3600 + 1, StartHour: uint64(now.Unix())/3600 - 1, NowMs: uint64(now.UnixMilli()),
		})
		if err != nil {
			return 0, err
		}
		sum := uint64(0)
		for _, hour := range response.(*internalv1.StoredUsageResponse).GetHours() { //nolint:forcetypeassert,errcheck // it is
			sum += hour.GetByteSeconds()
		}
		return sum, nil
	}
	// The shard accounts for it once all its nodes know how.
	require.Eventually(t, func() bool {
		_, err := host.Propose(t.Context(), route.Shard, "acme", &internalv1.Command{
			NamespaceId: uint64(route.Namespace), Epoch: route.Epoch,
			Operation: &internalv1.Command_Put{Put: &flotillav1.PutRequest{Key: []byte("k"), Value: make([]byte, 999)}},
		})
		if err != nil {
			return false
		}
		sum, err := stored()
		return err == nil && sum > 0
	}, waitMax, waitTick)

	require.NoError(t, c.DeleteNamespaces(t.Context(), "acme", []string{"a"}))
	purges, err := c.Purges(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, purges, 1)
	for more := true; more; {
		more, err = c.DropSlice(t.Context(), purges[0], 1)
		require.NoError(t, err)
	}
	usage := func() uint64 {
		hours, err := c.Usage(t.Context(), "acme", 0, 1<<30)
		require.NoError(t, err)
		sum := uint64(0)
		for _, hour := range hours {
			sum += hour.Usage.GetStoredByteSeconds()
		}
		return sum
	}
	kept := usage()
	require.Positive(t, kept)
	_, err = c.DropSlice(t.Context(), purges[0], 1) // a reaper that did not learn that it is done
	require.NoError(t, err)
	require.Equal(t, kept, usage())
}
