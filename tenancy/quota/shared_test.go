package quota_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/flotillakv/flotilla/tenancy/quota"
)

const milli = quota.Milli

// gateway is a node that spends what it is granted.
type gateway struct {
	quota.Ask
}

func newGateway(name string) *gateway { return &gateway{quota.Ask{Node: name, Lease: 1}} }

func (g *gateway) ask(s *quota.Shared, want int64, now time.Time) (inHand int64) {
	g.Want = want * milli
	g.Granted = s.Ask(g.Ask, now)
	return (g.Granted - g.Spent) / milli
}

func TestSharedGrantsWhatIsWanted(t *testing.T) {
	t.Parallel()
	s := quota.NewShared(quota.Rate{PerSecond: 100, Burst: 100}, begin)
	a := newGateway("a")
	require.EqualValues(t, 30, a.ask(&s, 30, begin))
	require.InDelta(t, 70, s.Bucket().Level(begin), 0)
	a.Spent += 10 * milli
	require.EqualValues(t, 30, a.ask(&s, 30, begin), "what was spent is filled up")
	require.InDelta(t, 60, s.Bucket().Level(begin), 0)
	require.EqualValues(t, 30, a.ask(&s, 20, begin), "a little more than it wants may stay")
	require.EqualValues(t, 5, a.ask(&s, 5, begin), "the rest goes back")
	require.EqualValues(t, 0, a.ask(&s, 0, begin))
	require.InDelta(t, 90, s.Bucket().Level(begin), 0, "all but what was spent is there")
}

func TestSharedTakesWhatWasSpentAhead(t *testing.T) {
	t.Parallel()
	s := quota.NewShared(quota.Rate{PerSecond: 100, Burst: 100}, begin)
	a := newGateway("a")
	a.Spent = 130 * milli
	require.Zero(t, a.ask(&s, 10, begin))
	require.InDelta(t, -30, s.Bucket().Level(begin), 0)
	require.Zero(t, a.ask(&s, 10, after(300*time.Millisecond)), "the debt is paid first")
	require.EqualValues(t, 10, a.ask(&s, 10, after(400*time.Millisecond)))
}

// TestSharedOverALossyNetwork has asks come twice and answers get lost: it changes
// nothing.
func TestSharedOverALossyNetwork(t *testing.T) {
	t.Parallel()
	s := quota.NewShared(quota.Rate{PerSecond: 100, Burst: 100}, begin)
	a := newGateway("a")
	a.ask(&s, 50, begin)
	a.Spent += 20 * milli
	lost := a.Ask
	lost.Want = 50 * milli
	s.Ask(lost, begin)
	s.Ask(lost, begin)
	a.Spent += 10 * milli
	a.ask(&s, 50, begin)
	s.Ask(lost, begin) // one that comes late
	a.ask(&s, 0, begin)
	require.InDelta(t, 70, s.Bucket().Level(begin), 0)
}

func TestSharedSplitsByWhatIsWanted(t *testing.T) {
	t.Parallel()
	s := quota.NewShared(quota.Rate{PerSecond: 1000, Burst: 200}, begin)
	a, b := newGateway("a"), newGateway("b")
	s.Bucket().SetLevel(0, begin)
	now := begin
	for range 100 { // each asks every 50 ms, and a wants three times as much
		now = now.Add(25 * time.Millisecond)
		a.ask(&s, 300, now)
		a.Spent = a.Granted
		now = now.Add(25 * time.Millisecond)
		b.ask(&s, 100, now)
		b.Spent = b.Granted
	}
	all := float64(a.Spent+b.Spent) / milli
	require.InEpsilon(t, 5000, all, 0.02, "all that came was granted")
	require.InEpsilon(t, 0.75, float64(a.Spent)/float64(a.Spent+b.Spent), 0.1)
	require.False(t, s.Alone("a", now))
	require.True(t, s.Alone("a", now.Add(time.Second)), "who does not ask any more wants nothing")
}

// TestSharedOfASlowRate has parts of less than a token reach everybody.
func TestSharedOfASlowRate(t *testing.T) {
	t.Parallel()
	s := quota.NewShared(quota.Rate{PerSecond: 1, Burst: 1}, begin)
	nodes := []*gateway{newGateway("a"), newGateway("b"), newGateway("c")}
	now, spent := begin, 0
	for range 60 * 20 {
		now = now.Add(50 * time.Millisecond)
		for _, g := range nodes {
			if g.ask(&s, 2, now) >= 1 {
				g.Spent += milli
				spent++
			}
		}
	}
	require.InDelta(t, 60, spent, 3)
}

// TestSharedIsMadeAnew has another node take the bucket over: what the one before
// has granted is not taken again.
func TestSharedIsMadeAnew(t *testing.T) {
	t.Parallel()
	rate := quota.Rate{PerSecond: 100, Burst: 100}
	before := quota.NewShared(rate, begin)
	a := newGateway("a")
	a.ask(&before, 40, begin)
	a.Spent += 50 * milli
	s := quota.NewShared(rate, begin)
	require.EqualValues(t, 40, a.ask(&s, 40, begin))
	require.InDelta(t, 50, s.Bucket().Level(begin), 0, "10 were spent ahead, 40 are in hand")

	a.Lease, a.Spent, a.Granted = 2, 5*milli, 0 // the node has started anew
	require.EqualValues(t, 20, a.ask(&s, 20, begin))
	require.InDelta(t, 25, s.Bucket().Level(begin), 0)
}

// TestSharedAfterAPause takes what a node granted itself from what gathered while
// it could not ask, and no more.
func TestSharedAfterAPause(t *testing.T) {
	t.Parallel()
	s := quota.NewShared(quota.Rate{PerSecond: 100, Burst: 100}, begin)
	a := newGateway("a")
	a.ask(&s, 100, begin)
	a.Spent += 100 * milli
	later := after(time.Second)
	for _, c := range []struct {
		self int64
		left float64
	}{{20, 80}, {500, 0}} {
		a.Self += c.self * milli
		a.Granted += c.self * milli
		a.Spent += c.self * milli
		a.ask(&s, 0, later)
		require.InDelta(t, c.left, s.Bucket().Level(later), 0)
	}
}

func TestSharedForgets(t *testing.T) {
	t.Parallel()
	s := quota.NewShared(quota.Rate{PerSecond: 100, Burst: 100}, begin)
	require.True(t, s.Idle(begin))
	a := newGateway("a")
	a.ask(&s, 100, begin)
	require.False(t, s.Idle(begin))
	require.False(t, s.Idle(after(time.Minute)))
	require.True(t, s.Idle(after(time.Minute+time.Millisecond)))
	for i := range 1000 { // as many as one likes
		newGateway(string(rune('A'+i))).ask(&s, 1, after(time.Duration(i)))
	}
	require.False(t, s.Idle(after(time.Second)))
}

// TestSharedGrantsNoMoreThanItsRate has nodes ask and spend at random: what was
// spent and told, and what they have in hand, is never more than came, but for
// what they spent ahead.
func TestSharedGrantsNoMoreThanItsRate(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rate := quota.Rate{PerSecond: rapid.Uint64Range(1, 1e5).Draw(t, "rate"), Burst: rapid.Uint64Range(0, 1e5).Draw(t, "burst")}
		s := quota.NewShared(rate, begin)
		nodes := []*gateway{newGateway("a"), newGateway("b"), newGateway("c")}
		now := begin
		for range rapid.IntRange(1, 100).Draw(t, "asks") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(200*time.Millisecond)).Draw(t, "pause")))
			g := nodes[rapid.IntRange(0, 2).Draw(t, "node")]
			if inHand := g.Granted - g.Spent; inHand > 0 {
				g.Spent += rapid.Int64Range(0, inHand).Draw(t, "spend")
			}
			g.ask(&s, int64(rapid.Uint64Range(0, 2*rate.PerSecond).Draw(t, "want")), now)
			given := 0.0
			for _, g := range nodes {
				require.LessOrEqual(t, g.Spent, g.Granted)
				given += float64(g.Granted) / milli
			}
			require.LessOrEqual(t, given, rate.Full()+rate.Over(now.Sub(begin))+1e-3)
		}
	})
}
