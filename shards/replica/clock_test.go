package replica_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/flotillakv/flotilla/shards/replica"
)

// fakeTime is a monotonic clock that a test moves.
type fakeTime struct{ now time.Duration }

func (f *fakeTime) monotonic() time.Duration { return f.now }

func (f *fakeTime) pass(ms int) { f.now += time.Duration(ms) * time.Millisecond }

func TestClockGoesOnFromWhatWasApplied(t *testing.T) {
	t.Parallel()
	f := &fakeTime{now: 77 * time.Hour}
	c := replica.NewClock(f.monotonic)
	require.EqualValues(t, 0, c.NowMS())
	f.pass(10)
	require.EqualValues(t, 10, c.NowMS())
	c.Observe(5000) // what was stored before a restart
	require.EqualValues(t, 5000, c.NowMS())
	f.pass(1)
	require.EqualValues(t, 5001, c.NowMS())
}

// An entry carries the estimate from when it was proposed. Taking it for the
// time of its arrival would make the clock slower by its way, each time.
func TestClockDoesNotLoseTheWayOfEntries(t *testing.T) {
	t.Parallel()
	f := &fakeTime{}
	c := replica.NewClock(f.monotonic)
	for range 100 {
		proposed := c.NowMS()
		f.pass(7)
		c.Observe(proposed)
	}
	require.EqualValues(t, 700, c.NowMS())
}

func TestClockFollowsALeaderThatIsAhead(t *testing.T) {
	t.Parallel()
	f := &fakeTime{}
	leader, follower := replica.NewClock(f.monotonic), replica.NewClock(f.monotonic)
	leader.Observe(60_000)
	f.pass(3) // the way to the follower
	follower.Observe(60_000)
	require.EqualValues(t, 60_003, leader.NowMS())
	require.EqualValues(t, 60_000, follower.NowMS(), "behind by the way of the entry that moved it, never ahead")
	f.pass(1000)
	require.EqualValues(t, 61_000, follower.NowMS(), "and goes on while there is no leader")
}

func TestClockTakesAnyNumberOfMilliseconds(t *testing.T) {
	t.Parallel()
	c := replica.NewClock((&fakeTime{}).monotonic)
	c.Observe(1<<64 - 1)
	require.Greater(t, c.NowMS(), uint64(1)<<40)
}

// Whoever leads, however long entries take, whatever nodes start anew: the
// shard's clock is never ahead of the time that has really passed since it
// stood at 0, so nothing ends early.
func TestClockNeverRunsFasterThanTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := &fakeTime{now: time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "start"))}
		start := f.now
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		nodes := make([]*replica.Clock, 3)
		applied := make([]uint64, 3) // each node's machine's clock
		var log []uint64             // the clocks of the entries, applied by nobody, some or all
		at := make([]int, 3)
		restart := func(i int) {
			nodes[i] = replica.NewClock(f.monotonic)
			nodes[i].Observe(applied[i])
		}
		for i := range nodes {
			restart(i)
		}
		for range 200 {
			f.now += time.Duration(rng.Int64N(int64(50 * time.Millisecond)))
			i := rng.IntN(len(nodes))
			switch rng.IntN(8) {
			case 0, 1, 2:
				log = append(log, nodes[i].NowMS())
			case 3:
				restart(i)
			default:
				if at[i] < len(log) {
					applied[i] = max(applied[i], log[at[i]])
					nodes[i].Observe(applied[i])
					at[i]++
				}
			}
			passed := uint64((f.now - start) / time.Millisecond)
			for _, c := range nodes {
				require.LessOrEqual(t, c.NowMS(), passed)
			}
			require.LessOrEqual(t, applied[i], nodes[i].NowMS(), "and a node's estimate is not behind its machine")
		}
	})
}
