package watch

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// tenantFeeds are feeds of a hub, one for each tenant in the list, with a watch
// that is behind.
func tenantFeeds(t *testing.T, cfg Config, tenants ...tenancy.TenantID) []*feed {
	t.Helper()
	accounts := new(Accounts)
	hub := NewHub(cfg, accounts, NewMetrics(prometheus.NewRegistry(), accounts), nil)
	feeds := make([]*feed, len(tenants))
	for i, tenant := range tenants {
		own, err := accounts.open(tenant, 0)
		require.NoError(t, err)
		feeds[i], err = hub.enter(tenancy.NamespaceID(i+1), own)
		require.NoError(t, err)
	}
	return feeds
}

func eventsOf(rev mvcc.Revision, size int) []*Event {
	return []*Event{{Revision: rev, Key: make([]byte, size-eventOverheadBytes)}}
}

// What one tenant's namespaces have queued turns its own watches to the history,
// and nobody else's.
func TestTenantsHaveTheirOwnQueues(t *testing.T) {
	t.Parallel()
	feeds := tenantFeeds(t, Config{}, "a", "a", "a", "b")
	for _, f := range feeds {
		f.running = true // nobody matches what is queued
	}
	for _, f := range feeds {
		f.publish(2, eventsOf(2, feedBytesMax), true)
	}
	var kinds []parcelKind
	for _, f := range feeds {
		require.Len(t, f.queue, 1)
		kinds = append(kinds, f.queue[0].kind)
	}
	require.Equal(t, []parcelKind{parcelEvents, parcelEvents, parcelGap, parcelEvents}, kinds)

	for _, f := range feeds {
		f.run()
		require.Zero(t, f.bytes)
	}
	require.Zero(t, feeds[0].account.queued.Load())
	feeds[2].running = true
	feeds[2].publish(3, eventsOf(3, feedBytesMax), true)
	require.Equal(t, parcelEvents, feeds[2].queue[0].kind, "there is room again")
}

// What is kept for one tenant's slow watches leaves the share of others alone.
func TestTenantsHaveTheirOwnRecentEvents(t *testing.T) {
	t.Parallel()
	const size = 1000
	feeds := tenantFeeds(t, Config{RecentBytesMax: 2 * size, TenantRecentBytesMax: 3 * size}, "a", "a", "b")
	behind := make([]*watcher, len(feeds))
	for i, f := range feeds {
		behind[i] = &watcher{}
		f.countBehind(behind[i], true)
	}
	write := func(from, to mvcc.Revision) {
		for rev := from; rev <= to; rev++ {
			for _, f := range feeds {
				f.remember(&parcel{revision: rev, events: eventsOf(rev, size), bytes: size})
			}
		}
	}
	kept := func() (counts []int) {
		for _, f := range feeds {
			counts = append(counts, len(f.recent.events))
		}
		return counts
	}
	write(2, 10)
	require.Equal(t, []int{2, 1, 2}, kept())
	require.Equal(t, int64(3*size), feeds[0].account.recent.Load())
	require.Equal(t, mvcc.Revision(9), feeds[0].recent.from)
	require.Equal(t, mvcc.Revision(10), feeds[1].recent.from)

	feeds[0].countBehind(behind[0], false)
	require.Equal(t, int64(size), feeds[0].account.recent.Load())
	write(11, 11)
	require.Equal(t, []int{0, 2, 2}, kept(), "the share is the other namespace's now")
	for i, f := range feeds {
		f.countBehind(behind[i], false)
	}
	require.Zero(t, feeds[0].account.recent.Load())
	require.Zero(t, feeds[2].account.recent.Load())
}
