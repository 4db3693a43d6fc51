package shards

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/flotillakv/flotilla/tenancy"
)

// reading is long reads under test; each takes a second.
type reading struct {
	*turns
	started []string
}

// begin begins a long read, which notes that it got its turn.
func (r *reading) begin(ctx context.Context, tenant tenancy.TenantID, name string, result chan<- error) {
	_, err := r.atLength(ctx, tenant, 2, func(interrupted func() error) (proto.Message, error) {
		r.mu.Lock()
		r.started = append(r.started, name)
		r.mu.Unlock()
		time.Sleep(time.Second) //nolint:forbidigo // the bubble's time
		return nil, interrupted()
	})
	if result != nil {
		result <- err
	}
}

// names are those that got their turns, in order.
func (r *reading) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.started)
}

func (r *reading) requireEmpty(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Empty(t, r.lines, "no memory for tenants at rest")
	require.Zero(t, r.taken)
	require.Zero(t, r.waiting)
	require.Zero(t, r.ready.Len())
}

func TestTenantsTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &reading{turns: newTurns(1)}
		for i := range 4 {
			go r.begin(t.Context(), "flood", fmt.Sprint("flood", i), nil)
			synctest.Wait()
		}
		go r.begin(t.Context(), "b", "b0", nil)
		synctest.Wait()
		go r.begin(t.Context(), "c", "c0", nil)
		synctest.Wait()
		go r.begin(t.Context(), "b", "b1", nil)
		time.Sleep(10 * time.Second) //nolint:forbidigo // the bubble's time
		synctest.Wait()
		require.Equal(t, []string{"flood0", "b0", "c0", "flood1", "b1", "flood2", "flood3"}, r.names())
		r.requireEmpty(t)
	})
}

func TestTenantHasOneTurnAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &reading{turns: newTurns(3)}
		for i := range 3 {
			go r.begin(t.Context(), "a", fmt.Sprint("a", i), nil)
			synctest.Wait()
		}
		go r.begin(t.Context(), "b", "b0", nil)
		synctest.Wait()
		require.Equal(t, []string{"a0", "b0"}, r.names(), "the third turn stays free")
		time.Sleep(5 * time.Second) //nolint:forbidigo // the bubble's time
		synctest.Wait()
		require.Equal(t, []string{"a0", "b0", "a1", "a2"}, r.names())
		r.requireEmpty(t)
	})
}

func TestReadThatTurnsOutToBeLong(t *testing.T) {
	t.Parallel()
	r := newTurns(1)
	read := func(asks int) readFunc {
		return func(interrupted func() error) (proto.Message, error) {
			for range asks {
				if err := interrupted(); err != nil {
					return nil, err
				}
			}
			return nil, nil
		}
	}
	_, err := r.briefly(t.Context(), "a", read(5*shortAsks))
	require.NoError(t, err, "it takes the turn that is free")
	require.True(t, r.try("a"), "and gives it back")
	_, err = r.briefly(t.Context(), "b", read(shortAsks-1))
	require.NoError(t, err, "a short one needs none")
	_, err = r.briefly(t.Context(), "b", read(shortAsks))
	require.ErrorIs(t, err, errLong)
	require.Len(t, r.lines, 1)
	r.end("a")
	require.Empty(t, r.lines)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.briefly(ctx, "b", read(1))
	require.ErrorIs(t, err, context.Canceled)
	_, err = r.atLength(t.Context(), "b", 1, func(func() error) (proto.Message, error) { return nil, errors.New("disk") })
	require.ErrorContains(t, err, "disk")
	require.Empty(t, r.lines)
	require.Panics(t, func() {
		_, _ = r.briefly(t.Context(), "b", func(interrupted func() error) (proto.Message, error) {
			for range shortAsks {
				_ = interrupted()
			}
			panic("in a read")
		})
	})
	require.Empty(t, r.lines)
}

func TestReadThatGivesUpLeavesTheLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &reading{turns: newTurns(1)}
		go r.begin(t.Context(), "a", "a0", nil)
		synctest.Wait()
		ended := make(chan error, 3)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		// The second one's time is over when its turn comes.
		exact, cancelExact := context.WithTimeout(t.Context(), time.Second)
		defer cancelExact()
		go r.begin(ctx, "b", "b0", ended)
		synctest.Wait()
		go r.begin(exact, "b", "b1", ended)
		synctest.Wait()
		go r.begin(t.Context(), "c", "c0", nil)
		synctest.Wait()
		require.ErrorIs(t, <-ended, context.DeadlineExceeded)
		require.ErrorIs(t, <-ended, context.DeadlineExceeded)
		time.Sleep(3 * time.Second) //nolint:forbidigo // the bubble's time
		synctest.Wait()
		require.Contains(t, r.names(), "c0", "the turn that nobody wanted is the next one's")
		require.NotContains(t, r.names(), "b0")
		r.requireEmpty(t)
	})
}

func TestLinesOfLongReadsAreBounded(t *testing.T) {
	t.Parallel()
	r := newTurns(1)
	require.True(t, r.try("a"))
	for range turnsLineMax {
		_, _, err := r.join("a", 7)
		require.NoError(t, err)
	}
	_, _, err := r.join("a", 7)
	var busy *BusyError
	require.ErrorAs(t, err, &busy)
	require.Equal(t, BusyError{Shard: 7, Queue: "long reads", RetryAfter: turnRetryAfter}, *busy)
	for i := 0; r.waiting < turnsWaitingMax; i++ {
		_, _, err := r.join(tenancy.TenantID(fmt.Sprint(i)), 7)
		require.NoError(t, err)
	}
	_, _, err = r.join("late", 7)
	require.ErrorAs(t, err, &busy)
	require.NotContains(t, r.lines, tenancy.TenantID("late"))
}

// However many tenants have lines as long as they may, a new one finds a place; and
// when they left, a line is as long as ever.
func TestManyLongLinesLeavePlaces(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := newTurns(1)
		require.True(t, r.try("reader"))
		var leave []func()
		fill := func(tenant tenancy.TenantID) (places int) {
			for ; ; places++ {
				line, read, err := r.join(tenant, 7)
				if err != nil {
					return places
				}
				leave = append(leave, func() { r.leave(line, read) })
			}
		}
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "who leaves"), 0))
		n := rapid.IntRange(1, 1000).Draw(t, "loud tenants")
		for range rapid.IntRange(1, 3).Draw(t, "rounds") {
			random.Shuffle(len(leave), func(i, j int) { leave[i], leave[j] = leave[j], leave[i] })
			for range len(leave) / 2 {
				leave[0]()
				leave = leave[1:]
			}
			for i := range n {
				fill(tenancy.TenantID(fmt.Sprint("loud", i)))
			}
		}
		require.Positive(t, fill("quiet"))
		for _, one := range leave {
			one()
		}
		require.Equal(t, turnsLineMax, fill("lone"))
	})
}

// Against the plain statement of the promises U1 to U3, whatever happens in whatever
// order.
func TestTurnsProperties(t *testing.T) {
	t.Parallel()
	type waits struct {
		line *turnLine
		read any
		gone func()
	}
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 3).Draw(t, "most")
		r := newTurns(most)
		running, lines := map[tenancy.TenantID]int{}, map[tenancy.TenantID][]waits{}
		granted := map[tenancy.TenantID]func(){} // how those give up whose turn came
		settle := func() {                       // who was granted a turn must be the first of its line
			for _, tenant := range []tenancy.TenantID{"a", "b", "c", "d"} {
				for len(lines[tenant]) > 0 {
					turn, _ := lines[tenant][0].read.(chan struct{})
					if !isClosed(turn) {
						break
					}
					running[tenant]++
					granted[tenant] = lines[tenant][0].gone
					lines[tenant] = lines[tenant][1:]
				}
				for _, w := range lines[tenant] {
					turn, _ := w.read.(chan struct{})
					require.False(t, isClosed(turn), "out of order")
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				tenant := rapid.SampledFrom([]tenancy.TenantID{"a", "b", "c", "d"}).Draw(t, "tenant")
				// A turn may become free between the two.
				if rapid.Bool().Draw(t, "try") && r.try(tenant) {
					require.Empty(t, lines[tenant])
					running[tenant]++
					return
				}
				line, read, err := r.join(tenant, 1)
				require.NoError(t, err)
				lines[tenant] = append(lines[tenant], waits{line, read.Value, func() { r.leave(line, read) }})
				settle()
			},
			"end": func(t *rapid.T) {
				tenant := rapid.SampledFrom([]tenancy.TenantID{"a", "b", "c", "d"}).Draw(t, "tenant")
				if running[tenant] == 0 {
					t.Skip("it does not read")
				}
				running[tenant]--
				if gone := granted[tenant]; gone != nil && rapid.Bool().Draw(t, "too late") {
					gone()
				} else {
					r.end(tenant)
				}
				delete(granted, tenant)
				settle()
			},
			"give up": func(t *rapid.T) {
				tenant := rapid.SampledFrom([]tenancy.TenantID{"a", "b", "c", "d"}).Draw(t, "tenant")
				if len(lines[tenant]) == 0 {
					t.Skip("none waits")
				}
				i := rapid.IntRange(0, len(lines[tenant])-1).Draw(t, "which")
				lines[tenant][i].gone()
				lines[tenant] = slices.Delete(lines[tenant], i, i+1)
				settle()
			},
			"": func(t *rapid.T) {
				total, waiting, atRest := 0, 0, 0
				for _, tenant := range []tenancy.TenantID{"a", "b", "c", "d"} {
					require.LessOrEqual(t, running[tenant], 1)
					total, waiting = total+running[tenant], waiting+len(lines[tenant])
					if running[tenant]+len(lines[tenant]) == 0 {
						atRest++
						require.NotContains(t, r.lines, tenant)
					}
					if running[tenant] == 0 && len(lines[tenant]) > 0 {
						require.Equal(t, most, r.taken, "a turn is free, and somebody waits")
					}
				}
				require.LessOrEqual(t, total, most)
				require.Equal(t, total, r.taken)
				require.Equal(t, waiting, r.waiting)
				require.Len(t, r.lines, 4-atRest)
			},
		})
	})
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
