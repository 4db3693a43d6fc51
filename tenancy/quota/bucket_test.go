package quota_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/flotillakv/flotilla/tenancy/quota"
)

var begin = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

func after(d time.Duration) time.Time { return begin.Add(d) }

func TestBucket(t *testing.T) {
	t.Parallel()
	b := quota.NewBucket(quota.Rate{PerSecond: 10, Burst: 3}, begin)
	for range 3 {
		require.True(t, b.Take(1, begin))
	}
	require.False(t, b.Take(1, begin), "the burst is spent")
	require.Equal(t, 100*time.Millisecond, b.Wait(begin))
	require.False(t, b.Take(1, after(99*time.Millisecond)))
	require.True(t, b.Take(1, after(100*time.Millisecond)))
	require.False(t, b.Take(1, after(100*time.Millisecond)))

	require.True(t, b.Full(after(time.Second)))
	require.InDelta(t, 3, b.Level(after(time.Hour)), 0, "no more gather than the burst")
	require.InDelta(t, 3, b.Level(begin), 0, "a clock that goes back takes nothing")
}

func TestBucketInDebt(t *testing.T) {
	t.Parallel()
	b := quota.NewBucket(quota.Rate{PerSecond: 1000, Burst: 1000}, begin)
	require.True(t, b.Take(3000, begin), "a request that is larger than the burst is let in")
	require.False(t, b.Take(1, after(2*time.Second)), "and paid for by those that follow")
	require.Equal(t, time.Millisecond, b.Wait(after(2*time.Second)))
	require.True(t, b.Take(1, after(2001*time.Millisecond)))

	b.Spend(1e9, after(3*time.Second))
	require.InDelta(t, -60_000, b.Level(after(3*time.Second)), 0, "no debt takes longer than a minute")
	b.Drain(5, after(3*time.Second))
	require.InDelta(t, -60_000, b.Level(after(3*time.Second)), 0, "there is nothing to take")
	b.SetLevel(7, after(3*time.Second))
	b.Drain(50, after(3*time.Second))
	require.Zero(t, b.Level(after(3*time.Second)))
}

func TestBucketOfSmallRates(t *testing.T) {
	t.Parallel()
	b := quota.NewBucket(quota.Rate{PerSecond: 1}, begin)
	require.True(t, b.Take(1, begin), "a rate without a burst lets one in")
	require.False(t, b.Take(1, after(999*time.Millisecond)))
	require.True(t, b.Take(1, after(time.Second)))

	b = quota.NewBucket(quota.Rate{PerSecond: 1000, Burst: 1}, begin)
	require.InDelta(t, 200, b.Level(begin), 0, "the tokens of 200 ms always gather")
}

func TestBucketWhoseRateChanges(t *testing.T) {
	t.Parallel()
	b := quota.NewBucket(quota.Rate{PerSecond: 10, Burst: 10}, begin)
	b.SetRate(quota.Rate{PerSecond: 100, Burst: 100}, begin)
	require.InDelta(t, 100, b.Level(begin), 0, "what was full is full")
	b.Spend(50, begin)
	b.SetRate(quota.Rate{PerSecond: 10, Burst: 10}, begin)
	require.InDelta(t, 10, b.Level(begin), 0)
	b.Spend(5, begin)
	b.SetRate(quota.Rate{PerSecond: 100, Burst: 100}, begin)
	require.InDelta(t, 5, b.Level(begin), 0)
	require.InDelta(t, 15, b.Level(after(100*time.Millisecond)), 1e-9)
}

// TestBucketLetsInNoMoreThanItsRate spends at random and counts: over any time no
// more is let in than the burst, what came, and one request that was larger than
// what there was.
func TestBucketLetsInNoMoreThanItsRate(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rate := quota.Rate{
			PerSecond: rapid.Uint64Range(1, 1e6).Draw(t, "rate"), Burst: rapid.Uint64Range(0, 1e6).Draw(t, "burst"),
		}
		b := quota.NewBucket(rate, begin)
		largest := rate.Over(10 * time.Second)
		now, spent, most := begin, 0.0, 0.0
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "pause")))
			cost := rapid.Float64Range(0, largest).Draw(t, "cost")
			if b.Take(cost, now) {
				spent += cost
				most = max(most, cost)
			}
			require.LessOrEqual(t, spent, rate.Full()+rate.Over(now.Sub(begin))+most+1e-3)
		}
	})
}
