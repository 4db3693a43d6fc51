package machine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/store"
)

func drop(ns, epoch uint64, rowsMax uint32) *internalv1.Command {
	return &internalv1.Command{NamespaceId: ns, Epoch: epoch, Operation: &internalv1.Command_DropNamespaceSlice{
		DropNamespaceSlice: &internalv1.DropNamespaceSlice{RowsMax: rowsMax},
	}}
}

func dropped(t *testing.T, r machine.Result) *internalv1.DropNamespaceSliceResponse {
	t.Helper()
	require.NoError(t, r.Err)
	response, ok := r.Response.(*internalv1.DropNamespaceSliceResponse)
	require.True(t, ok)
	return response
}

func (s *shard) hash() store.Hash {
	s.t.Helper()
	h, err := s.rows.Hash()
	require.NoError(s.t, err)
	return h
}

// Goal: nothing is left of a dropped namespace, and its neighbours notice nothing,
// wherever a replica starts again (R4). Method: the hash of a shard that had the
// namespace and of one that never did, over the same entries otherwise.
func TestDroppedNamespaceLeavesOnlyThatItWas(t *testing.T) {
	t.Parallel()
	const bucket = machine.AgeBucketMS
	run := func(had, restarts bool) (store.Hash, []uint64) {
		s := newShard(t)
		step := func(atMS uint64, commands ...*internalv1.Command) []machine.Result {
			if restarts {
				s.load()
			}
			return s.entry(atMS, commands...)
		}
		for i := range uint64(6) {
			var commands []*internalv1.Command
			for ns := uint64(1); ns <= 3; ns++ {
				if ns == 2 && !had {
					continue
				}
				for lease := range int64(3) {
					commands = append(commands, grant(ns, int64(i)*10+lease+1, time.Duration(i+1)*time.Hour), putOn(ns, int64(i)*10+lease+1, fmt.Sprint("on", lease)))
				}
				commands = append(commands, put(ns, 1, "k", "v", ""), put(ns, 1, fmt.Sprint("k", i), "v", ""))
				if i == 4 {
					commands = append(commands, &internalv1.Command{NamespaceId: ns, Epoch: 1, Operation: &internalv1.Command_Compact{
						Compact: &flotillav1.CompactRequest{Revision: 7},
					}})
				}
			}
			step(i*2*bucket, commands...)
		}
		var rows []uint64
		for more := true; more; {
			response := dropped(t, step(20*bucket, drop(2, 2, 4))[0])
			rows, more = append(rows, response.GetRows()), response.GetMore()
			if !had { // as many entries
				more = len(rows) < 8
			}
		}
		// Some of them end while the namespace is being dropped.
		s.expire(7*60*60*1000, 100, 100)
		step(21*bucket, &internalv1.Command{Operation: &internalv1.Command_PurgeSlice{PurgeSlice: &internalv1.PurgeSlice{EventsMax: 1000}}})
		step(21*bucket, &internalv1.Command{Operation: &internalv1.Command_CompactAged{
			CompactAged: &internalv1.CompactAged{BeforeMs: 30 * bucket, NamespacesMax: 100},
		}})
		require.Zero(t, s.machine.Leases())
		return s.hash(), rows
	}
	want, _ := run(false, false)
	got, rows := run(true, false)
	require.Equal(t, []uint64{4, 4, 4, 4, 3, 2, 2, 0}, rows, "18 leases and 5 rows of ages, at most 4 rows looked at each time")
	require.Equal(t, want, got)
	again, _ := run(true, true)
	require.Equal(t, want, again)
}

func TestLeasesThatEndWhileTheirNamespaceIsDropped(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	for id := range int64(10) {
		s.entry(0, grant(1, id+1, time.Second), putOn(1, id+1, fmt.Sprint(id)))
	}
	require.True(t, dropped(t, s.entry(1, drop(1, 2, 3))[0]).GetMore())
	require.EqualValues(t, 5, s.expire(endMS(0, 1), 5, 100).GetLeases())
	s.load()
	require.Equal(t, 2, s.machine.Leases())
	require.True(t, dropped(t, s.entry(2, drop(1, 2, 2))[0]).GetMore(), "ages are left")
	require.False(t, dropped(t, s.entry(2, drop(1, 2, 2))[0]).GetMore())
	require.Zero(t, s.machine.Leases())
	_, ok := s.machine.NextExpiry()
	require.False(t, ok)
}

func TestDroppedNamespaceTakesNoCommand(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	s.entry(machine.AgeBucketMS, put(1, 3, "k", "v", "id"), put(2, 3, "k", "v", ""))
	require.NoError(t, s.entry(1, drop(9, 1, 100))[0].Err, "one that never wrote is known to be dropped too")
	refused := func(c *internalv1.Command) {
		t.Helper()
		var old *machine.WrongEpochError
		require.ErrorAs(t, s.entry(2, c)[0].Err, &old)
	}
	refused(drop(1, 2, 100))
	refused(drop(1, 3, 100))
	require.NotEmpty(t, s.keys(1), "its epoch is not greater than those before")
	require.True(t, dropped(t, s.entry(2, drop(1, 4, 1))[0]).GetMore())
	for range 2 {
		for _, epoch := range []uint64{1, 3, 4, 5} {
			refused(put(1, epoch, "k", "v", ""))
			refused(put(1, epoch, "k", "v", "id"))
			late := grant(1, 7, time.Second)
			late.Epoch = epoch
			refused(late)
			late = keepAlive(1, 7)
			late.Epoch = epoch
			refused(late)
		}
		refused(put(9, 1, "k", "v", ""))
		refused(drop(1, 3, 100))
		s.load()
		require.False(t, dropped(t, s.entry(2, drop(1, 4, 100))[0]).GetMore())
	}
	view := s.rows.NewView()
	defer func() { require.NoError(t, view.Close()) }()
	row, ok, err := view.Row(machine.TableState, 1, nil)
	require.NoError(t, err)
	require.True(t, ok)
	require.LessOrEqual(t, len(row), 8, "what stays is small")
	_, err = machine.DecodeNamespaceState(row)
	require.ErrorAs(t, err, new(*machine.WrongEpochError), "and is read by nobody")
	require.Equal(t, "revision 2: k@0", s.keys(2))
	require.Error(t, s.entry(3, drop(0, 9, 1))[0].Err, "the shard itself is no namespace")
}

func TestDropOfANamespaceIsAChange(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	changes := func(commands ...*internalv1.Command) []machine.Change {
		batch := s.rows.NewBatch()
		defer func() { require.NoError(t, batch.Close()) }()
		s.index++
		_, err := s.machine.Apply(batch, s.index, encodeEntry(t, 1, commands...), nil)
		require.NoError(t, err)
		list, err := s.machine.Finish(batch, nil)
		require.NoError(t, err)
		require.NoError(t, batch.Commit())
		return list
	}
	require.Equal(t, []machine.Change{{Namespace: 1, Revision: 2}}, changes(put(1, 1, "k", "v", "")))
	require.Equal(t, []machine.Change{{Namespace: 1, Dropped: true}, {Namespace: 2, Revision: 2}},
		changes(put(1, 1, "k", "v", ""), drop(1, 2, 1), put(2, 1, "k", "v", "")))
	require.Empty(t, changes(drop(1, 2, 1)), "it is told once")
	s.load()
	require.Empty(t, changes(drop(1, 2, 1)))
}
