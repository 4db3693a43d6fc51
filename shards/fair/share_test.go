package fair

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// fill has tenants 1 to n push items of one cost until each was refused, one tenant
// after the other, which leaves the least, or in turns.
func fill(t *rapid.T, q *Queue[int, int], n, cost int, inTurns bool) {
	for again := true; again; {
		again = false
		for tenant := 1; tenant <= n; tenant++ {
			for q.Push(tenant, 0, tenant, cost) == nil && !inTurns {
			}
			again = again || inTurns && q.Push(tenant, 0, tenant, cost) == nil
		}
	}
	cfg := Config{}.WithDefaults()
	require.LessOrEqual(t, q.items, cfg.ItemsMax)
	require.LessOrEqual(t, q.cost, cfg.CostMax)
}

// Whatever loud tenants queue, and whatever was served of it meanwhile, a new one finds
// room, and as much as Share says.
func TestLoudTenantsLeaveRoom(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const largest = 4 << 20
		n := rapid.IntRange(1, 1000).Draw(t, "loud tenants")
		cost := rapid.OneOf(rapid.IntRange(1000, 3000), rapid.IntRange(3000, largest)).Draw(t, "cost")
		q := New[int, int](Config{}, -1)
		for range rapid.IntRange(1, 3).Draw(t, "rounds") {
			q.Take(nil, rapid.IntRange(0, 10_000).Draw(t, "served"), math.MaxInt)
			fill(t, q, n, cost, rapid.Bool().Draw(t, "in turns"))
		}
		least := math.Cbrt(1 / float64(3*n+1))
		require.GreaterOrEqual(t, float64(q.cfg.ItemsMax-q.items), least*float64(q.cfg.ItemsMax))
		first := cost / 2
		if cost <= Share(int(least*float64(q.cfg.CostMax)), q.cfg.CostMax) { // no tenant's first item is more than its share
			require.GreaterOrEqual(t, float64(q.cfg.CostMax-q.cost), least*float64(q.cfg.CostMax))
			first = largest
		}
		require.NoError(t, q.Push(0, 0, 0, rapid.IntRange(1, first).Draw(t, "its cost")))
		require.NoError(t, q.Push(-1, 0, 0, largest))
	})
}

func TestLoneTenantHasItsOwnBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := New[int, int](Config{}, -1)
		fill(t, q, rapid.IntRange(1, 100).Draw(t, "loud tenants"), 10_000, false)
		q.Take(nil, math.MaxInt, math.MaxInt)
		require.Zero(t, q.Len())
		cost := rapid.IntRange(1, 1<<20).Draw(t, "cost")
		n := 0
		for q.Push(0, 0, 0, cost) == nil {
			n++
		}
		require.Equal(t, min(q.cfg.TenantItemsMax, q.cfg.TenantCostMax/cost), n)
	})
}

func TestThePlatformHasItsOwnBoundsAlways(t *testing.T) {
	t.Parallel()
	q := New[string, int](Config{TenantItemsMax: 10, ItemsMax: 20}, platform)
	for tenant := 'a'; q.Push(string(tenant), 0, 0, 1) == nil; tenant++ {
		for q.Push(string(tenant), 0, 0, 1) == nil {
		}
	}
	require.Equal(t, 20, q.Len())
	for range 10 {
		require.NoError(t, q.Push(platform, 0, 0, 1))
	}
	require.ErrorIs(t, q.Push(platform, 0, 0, 1), ErrTenantFull)
	require.ErrorIs(t, q.Push("quiet", 0, 0, 1), ErrQueueFull)
	require.Len(t, q.Take(nil, 100, 100), 30)
}

func TestShare(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ free, room, want int }{
		{1000, 1000, 1000},
		{500, 1000, 62},
		{128 << 20, 128 << 20, 128 << 20},
		{96 << 20, 128 << 20, 81 << 19},
		{1, 1000, 0},
		{0, 1000, 0},
		{-500, 1000, 0},
	} {
		require.Equal(t, test.want, Share(test.free, test.room), "%d of %d", test.free, test.room)
	}
}
