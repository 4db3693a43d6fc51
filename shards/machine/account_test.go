package machine_test

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/store"
	"github.com/flotillakv/flotilla/shards/store/storetest"
	"github.com/flotillakv/flotilla/tenancy"
)

const hourMS = 60 * 60 * 1000

func raise(level uint32) *internalv1.Command {
	return &internalv1.Command{Operation: &internalv1.Command_RaiseLevel{RaiseLevel: &internalv1.RaiseLevel{Level: level}}}
}

func remove(ns uint64, key string) *internalv1.Command {
	return &internalv1.Command{NamespaceId: ns, Epoch: 1, Operation: &internalv1.Command_Delete{Delete: &flotillav1.DeleteRequest{
		Target: &flotillav1.DeleteRequest_Key{Key: []byte(key)},
	}}}
}

// stored asks for the hours [start, end) as they are at a moment.
func (s *shard) stored(ns tenancy.NamespaceID, start, end, nowMS uint64) map[uint64]uint64 {
	s.t.Helper()
	view := s.rows.NewView()
	defer func() { require.NoError(s.t, view.Close()) }()
	response, err := machine.StoredUsage(view, ns, &internalv1.StoredUsageRequest{StartHour: start, EndHour: end, NowMs: nowMS})
	require.NoError(s.t, err)
	hours := map[uint64]uint64{}
	for _, h := range response.GetHours() {
		hours[h.GetHour()] = h.GetByteSeconds()
	}
	require.Len(s.t, hours, len(response.GetHours()))
	return hours
}

// storedRows counts the rows of hours.
func (s *shard) storedRows(ns tenancy.NamespaceID) (n int) {
	s.t.Helper()
	view := s.rows.NewView()
	defer func() { require.NoError(s.t, view.Close()) }()
	it := view.Rows(machine.TableStoredHours, ns, nil, nil)
	for it.Next() {
		n++
	}
	require.NoError(s.t, it.Close())
	return n
}

// integral is the plain statement of what is answered: steps of what is held.
type integral struct {
	atMS, held []uint64
}

func (i *integral) step(atMS, held uint64) {
	i.atMS, i.held = append(i.atMS, atMS), append(i.held, held)
}

func (i *integral) hours(start, end, nowMS uint64) map[uint64]uint64 {
	sums := map[uint64]uint64{}
	for k, from := range i.atMS {
		until := nowMS
		if k+1 < len(i.atMS) {
			until = i.atMS[k+1]
		}
		for from < until {
			hour := from / hourMS
			to := min(until, (hour+1)*hourMS)
			sums[hour] += i.held[k] * (to - from)
			from = to
		}
	}
	maps.DeleteFunc(sums, func(hour, sum uint64) bool { return hour < start || hour >= end || sum < 1000 })
	for hour, sum := range sums {
		sums[hour] = sum / 1000
	}
	return sums
}

// Goal: what is answered is the integral of what is held, hour by hour, whatever
// happens at whatever time, and on a replica that started again or was sent a
// snapshot. Method: random writes, deletions and ends of leases at random times
// against the plain statement.
func TestStoredUsageIsTheIntegralOfWhatIsHeld(t *testing.T) {
	t.Parallel()
	disk := storetest.NewDisk()
	st, err := store.Open(disk.Config())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	shards := uint64(0)
	rapid.Check(t, func(r *rapid.T) {
		shards++
		s := &shard{t: t, rows: st.Shard(shards)}
		s.load()
		now := rapid.Uint64Range(0, 30*24*hourMS).Draw(r, "start")
		var want integral
		held := func() uint64 {
			view := s.rows.NewView()
			defer func() { require.NoError(t, view.Close()) }()
			row, ok, err := view.Row(machine.TableState, 1, nil)
			require.NoError(t, err)
			if !ok {
				return 0
			}
			state, err := machine.DecodeNamespaceState(row)
			require.NoError(t, err)
			return state.LiveBytes
		}
		if rapid.Bool().Draw(r, "from the beginning") {
			s.entry(now, raise(machine.Level))
			want.step(now, 0)
		}
		for range rapid.IntRange(1, 40).Draw(r, "steps") {
			now += rapid.OneOf(rapid.Uint64Range(0, 3000), rapid.Uint64Range(0, 2*hourMS), rapid.Uint64Range(0, 60*hourMS)).Draw(r, "time passes")
			key := rapid.SampledFrom([]string{"a", "bb", "ccc"}).Draw(r, "key")
			switch rapid.IntRange(0, 9).Draw(r, "what") {
			case 0, 1, 2:
				s.entry(now, put(1, 1, key, string(make([]byte, rapid.IntRange(0, 5000).Draw(r, "bytes"))), ""))
			case 3, 4:
				s.entry(now, remove(1, key))
			case 5:
				s.entry(now, grant(1, 7, time.Hour), putOn(1, 7, key))
			case 6:
				s.expire(now, 10, 10)
			case 7: // refused, or of another namespace
				s.entry(now, within(1, 1, put(1, 1, "larger than all", "v", "")), put(2, 1, key, "v", ""))
			case 8:
				s.load()
			case 9:
				var stream bytes.Buffer
				snapshot := s.rows.Snapshot()
				require.NoError(t, snapshot.WriteTo(&stream, nil))
				require.NoError(t, snapshot.Close())
				shards++
				s.rows = st.Shard(shards)
				require.NoError(t, s.rows.Restore(&stream, nil))
				s.load()
			}
			if len(want.atMS) == 0 && rapid.IntRange(0, 5).Draw(r, "raise") == 0 {
				s.entry(now, raise(machine.Level))
				want.step(now, held())
			}
			if len(want.atMS) > 0 {
				want.step(now, held())
			}
		}
		asked := now + rapid.Uint64Range(0, 5*hourMS).Draw(r, "asked later")
		start := rapid.Uint64Range(0, asked/hourMS+2).Draw(r, "start hour")
		end := start + rapid.Uint64Range(0, 5000).Draw(r, "hours")
		require.Equal(t, want.hours(start, end, asked), s.stored(1, start, end, asked))
		require.Equal(t, want.hours(0, 10_000, asked), s.stored(1, 0, 10_000, asked))
	})
}

func TestIdleHoursHaveNoRows(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	s.entry(10*hourMS, raise(machine.Level), put(1, 1, "k", "123", ""))
	s.entry(13*hourMS, put(1, 1, "k", "321", ""))
	require.Zero(t, s.storedRows(1), "as many bytes as before")
	s.entry(5000*hourMS, put(1, 1, "k", "1234567", ""))
	require.Equal(t, 1, s.storedRows(1))
	s.entry(5000*hourMS+1, put(1, 1, "k", "v", ""), remove(1, "k"))
	require.Equal(t, 1, s.storedRows(1))
	hours := s.stored(1, 0, 5001, 5001*hourMS)
	require.Len(t, hours, 4990)
	for hour, stored := range hours {
		require.EqualValues(t, 4*3600, stored, "%d", hour)
	}
	require.Empty(t, s.stored(2, 0, 5001, 5001*hourMS))
}

func TestRowsOfHoursAreKeptFor400Days(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	s.entry(1, raise(machine.Level))
	const days = 500
	for hour := range uint64(days * 24) {
		s.entry(hour*hourMS+7, put(1, 1, "k", string(make([]byte, 1+hour%2)), ""))
	}
	require.InDelta(t, 400*24, s.storedRows(1), 48)
	const last = days*24 - 1
	hours := s.stored(1, last-400*24, last, last*hourMS)
	require.Len(t, hours, 400*24)
	for hour, stored := range hours {
		require.InDelta(t, (2+hour%2)*3600, stored, 1)
	}
}

func TestRowThatIdleHoursFollowFromIsKept(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	s.entry(1, raise(machine.Level))
	const later = 1000 * 24 // hours
	for _, hour := range []uint64{10, 50, 100, later, later + 24} {
		s.entry(hour*hourMS, put(1, 1, "k", string(make([]byte, hour%7)), ""))
	}
	require.Equal(t, 2, s.storedRows(1), "those of hours 100 and 24,000")
	require.Equal(t, map[uint64]uint64{later - 9000: (1 + 100%7) * 3600}, s.stored(1, later-9000, later-8999, 2*later*hourMS))
}

func TestNothingIsAccountedBeforeTheLevelIsReached(t *testing.T) {
	t.Parallel()
	old, s := newShard(t), newShard(t)
	for _, one := range []*shard{old, s} {
		one.entry(hourMS, put(1, 1, "k", "v", ""))
		one.entry(7*hourMS, put(1, 1, "k", "vv", ""))
	}
	require.Zero(t, s.machine.ShardLevel())
	require.Empty(t, s.stored(1, 0, 100, 9*hourMS))
	s.entry(8*hourMS, raise(machine.Level))
	require.EqualValues(t, machine.Level, s.machine.ShardLevel())
	require.Equal(t, map[uint64]uint64{8: 3 * 3600, 9: 3 * 1800}, s.stored(1, 0, 100, 9*hourMS+hourMS/2), "what was there counts from then on")
	s.entry(20*hourMS, raise(1))
	require.EqualValues(t, machine.Level, s.machine.ShardLevel(), "it is not lowered")
	require.Equal(t, uint64(3*3600), s.stored(1, 8, 9, 20*hourMS)[8])
	s.load()
	require.EqualValues(t, machine.Level, s.machine.ShardLevel())
	_, err := s.try(encodeEntry(t, 1, raise(machine.Level+1)))
	require.ErrorIs(t, err, machine.ErrBadEntry)
}

func TestStoredUsageRefusals(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	s.entry(hourMS, raise(machine.Level), put(1, 1, "k", "v", ""))
	view := s.rows.NewView()
	defer func() { require.NoError(t, view.Close()) }()
	_, err := machine.StoredUsage(view, 1, &internalv1.StoredUsageRequest{StartHour: 2, EndHour: 1})
	require.ErrorAs(t, err, new(*mvcc.InvalidError))
	_, err = machine.StoredUsage(view, 1, &internalv1.StoredUsageRequest{EndHour: machine.StoredHoursMax + 1})
	require.ErrorAs(t, err, new(*mvcc.TooLargeError))
	for _, now := range []uint64{0, 1, 5 * hourMS, math.MaxUint64} {
		for _, start := range []uint64{0, 1, 1 << 40, math.MaxUint64 - machine.StoredHoursMax} {
			response, err := machine.StoredUsage(view, 1, &internalv1.StoredUsageRequest{StartHour: start, EndHour: start + machine.StoredHoursMax, NowMs: now})
			require.NoError(t, err)
			hours := response.GetHours()
			require.True(t, slices.IsSortedFunc(hours, func(a, b *internalv1.StoredUsageHour) int { return int(a.GetHour()) - int(b.GetHour()) }))
			for _, h := range hours {
				require.LessOrEqual(t, h.GetByteSeconds(), uint64(2*3600), fmt.Sprint(start, now))
			}
		}
	}
}
