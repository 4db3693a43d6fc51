package machine_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/store"
	"github.com/flotillakv/flotilla/shards/store/storetest"
)

// shard is a machine over a store in memory.
type shard struct {
	t       *testing.T
	rows    *store.Shard
	machine *machine.Machine
	index   uint64
	// answersMax is how many answers it keeps, 0 for as many as in production.
	answersMax int
}

func newShard(t *testing.T) *shard {
	t.Helper()
	st, err := store.Open(storetest.NewDisk().Config())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	s := &shard{t: t, rows: st.Shard(1)}
	s.load()
	return s
}

func (s *shard) load() {
	s.t.Helper()
	view := s.rows.NewView()
	defer func() { require.NoError(s.t, view.Close()) }()
	s.machine = machine.New()
	if s.answersMax > 0 {
		s.machine.KeepAnswers(s.answersMax)
	}
	applied, err := s.machine.Load(view)
	require.NoError(s.t, err)
	s.index = applied
}

// entry applies commands as one log entry, at a time in milliseconds by both
// clocks.
func (s *shard) entry(timeMS uint64, commands ...*internalv1.Command) []machine.Result {
	s.t.Helper()
	results, err := s.try(encodeEntry(s.t, timeMS, commands...))
	require.NoError(s.t, err)
	return results
}

func encodeEntry(tb testing.TB, timeMS uint64, commands ...*internalv1.Command) []byte {
	tb.Helper()
	entry := machine.AppendHeader(nil, machine.Header{TimeMS: timeMS, ClockMS: timeMS})
	for _, c := range commands {
		encoded, err := proto.Marshal(c)
		require.NoError(tb, err)
		entry = machine.AppendCommand(entry, encoded)
	}
	return entry
}

func (s *shard) try(entry []byte) ([]machine.Result, error) {
	s.t.Helper()
	batch := s.rows.NewBatch()
	defer func() { require.NoError(s.t, batch.Close()) }()
	s.index++
	results, err := s.machine.Apply(batch, s.index, entry, nil)
	if err != nil {
		return nil, err
	}
	_, err = s.machine.Finish(batch, nil)
	require.NoError(s.t, err)
	return results, batch.Commit()
}

func put(ns, epoch uint64, key, value, requestID string) *internalv1.Command {
	return &internalv1.Command{NamespaceId: ns, Epoch: epoch, Operation: &internalv1.Command_Put{
		Put: &flotillav1.PutRequest{Key: []byte(key), Value: []byte(value), RequestId: requestID},
	}}
}

func revision(t *testing.T, r machine.Result) uint64 {
	t.Helper()
	require.NoError(t, r.Err)
	response, ok := r.Response.(*flotillav1.PutResponse)
	require.True(t, ok)
	return response.GetRevision()
}

func TestRetryIsAppliedOnceAndGetsTheFirstAnswer(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	first := s.entry(1, put(1, 1, "k", "a", "id"), put(1, 1, "k", "b", ""))
	require.EqualValues(t, 2, revision(t, first[0]))

	same := s.entry(2, put(1, 1, "k", "a", "id"))
	require.EqualValues(t, 2, revision(t, same[0]), "from the kept answer")

	twice := s.entry(3, put(1, 1, "k", "c", "other"), put(1, 1, "k", "c", "other"))
	require.EqualValues(t, 4, revision(t, twice[0]))
	require.EqualValues(t, 4, revision(t, twice[1]), "also within one entry")

	s.load() // a restart
	again := s.entry(4, put(1, 1, "k", "a", "id"))
	require.EqualValues(t, 2, revision(t, again[0]), "also after a restart")

	elsewhere := s.entry(5, put(2, 1, "k", "a", "id"))
	require.EqualValues(t, 2, revision(t, elsewhere[0]), "another namespace's ids are its own")
}

func TestRefusedMutationIsNotKept(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	refused := put(1, 1, "k", "a", "id")
	refused.GetPut().Precondition = &flotillav1.Precondition{MustExist: true}
	require.ErrorIs(t, s.entry(1, refused)[0].Err, mvcc.ErrKeyNotFound)
	s.entry(2, put(1, 1, "k", "a", ""))
	require.EqualValues(t, 3, revision(t, s.entry(3, refused)[0]))
}

func TestAnswersAreForgottenWithTime(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	s.entry(0, put(1, 1, "k", "a", "id"))
	const tenMinutes = 10 * 60 * 1000
	s.entry(tenMinutes, put(1, 1, "k", "b", "in time"))
	require.EqualValues(t, 2, revision(t, s.entry(tenMinutes, put(1, 1, "k", "a", "id"))[0]))
	s.entry(tenMinutes+1, put(1, 1, "k", "b", "later"))
	require.EqualValues(t, 5, revision(t, s.entry(tenMinutes+2, put(1, 1, "k", "a", "id"))[0]), "applied anew")
}

func TestAnswerThatIsTooLargeIsKnownToBeApplied(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	s.entry(1, put(1, 1, "k", string(make([]byte, 8000)), ""))
	withAnswer := put(1, 1, "k", "b", "id")
	withAnswer.GetPut().PrevKv = true
	s.entry(2, withAnswer)
	var applied *machine.AlreadyAppliedError
	require.ErrorAs(t, s.entry(3, withAnswer)[0].Err, &applied)
	require.EqualValues(t, 3, applied.Revision)
}

func TestOldRouteIsRefused(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	s.entry(1, put(1, 2, "k", "a", ""))
	var old *machine.WrongEpochError
	require.ErrorAs(t, s.entry(2, put(1, 1, "k", "b", ""))[0].Err, &old)
	s.load()
	require.ErrorAs(t, s.entry(3, put(1, 1, "k", "b", ""))[0].Err, &old, "also after a restart")
}

func TestEpochOfARefusedCommandIsKnownAfterARestartToo(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	s.entry(1, put(1, 1, "k", "a", ""))
	refused := put(1, 2, "k", "b", "")
	refused.GetPut().Precondition = &flotillav1.Precondition{MustNotExist: true}
	require.ErrorIs(t, s.entry(2, refused)[0].Err, mvcc.ErrKeyExists)
	s.load()
	var old *machine.WrongEpochError
	require.ErrorAs(t, s.entry(3, put(1, 1, "k", "c", ""))[0].Err, &old, "as on a replica that did not start again (R4)")
}

func TestTimeNeverGoesBackwards(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	s.entry(100)
	s.entry(50)
	require.EqualValues(t, 100, s.machine.Now())
	require.EqualValues(t, 100, s.machine.Clock())
	s.load()
	require.EqualValues(t, 100, s.machine.Now())
	require.EqualValues(t, 100, s.machine.Clock())
}

func TestRowsOfManyNamespacesOutliveTheCache(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	for round := range 2 {
		for first := uint64(1); first <= 10_000; first += 1000 {
			var commands []*internalv1.Command
			for ns := first; ns < first+1000; ns++ {
				commands = append(commands, put(ns, 1, "k", "v", ""))
			}
			for _, r := range s.entry(1, commands...) {
				require.EqualValues(t, 2+round, revision(t, r))
			}
		}
	}
}

func TestNamespacesAreCompactedByTheAgeOfTheirRevisions(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	const bucket = machine.AgeBucketMS
	for i := range uint64(4) {
		s.entry(i*bucket+1, put(1, 1, "k", fmt.Sprint(i), ""), put(1, 1, "k", fmt.Sprint(i, "'"), ""))
	}
	state := func() mvcc.State {
		view := s.rows.NewView()
		defer func() { require.NoError(t, view.Close()) }()
		row, ok, err := view.Row(machine.TableState, 1, nil)
		require.NoError(t, err)
		require.True(t, ok)
		st, err := machine.DecodeNamespaceState(row)
		require.NoError(t, err)
		return st
	}
	aged := func(before uint64) *internalv1.CompactAgedResponse {
		results := s.entry(20*bucket, &internalv1.Command{Operation: &internalv1.Command_CompactAged{
			CompactAged: &internalv1.CompactAged{BeforeMs: before, NamespacesMax: 10},
		}})
		response, ok := results[0].Response.(*internalv1.CompactAgedResponse)
		require.True(t, ok)
		return response
	}
	// Two writes in each bucket: revisions 2-3, 4-5, 6-7, 8-9.
	aged(3 * bucket)
	require.EqualValues(t, 5, state().CompactRevision, "what was readable since bucket 2 still is")
	aged(10 * bucket)
	require.EqualValues(t, 9, state().CompactRevision, "nothing but the newest is that young")
	require.EqualValues(t, 0, aged(20*bucket).GetCompacted(), "and then it costs nothing")

	purged := s.entry(20*bucket, &internalv1.Command{Operation: &internalv1.Command_PurgeSlice{
		PurgeSlice: &internalv1.PurgeSlice{EventsMax: 3},
	}})
	slice, ok := purged[0].Response.(*internalv1.PurgeSliceResponse)
	require.True(t, ok)
	require.True(t, slice.GetMore(), "a slice is bounded")
	for slice.GetMore() {
		more := s.entry(20*bucket, &internalv1.Command{Operation: &internalv1.Command_PurgeSlice{
			PurgeSlice: &internalv1.PurgeSlice{EventsMax: 3},
		}})
		slice, ok = more[0].Response.(*internalv1.PurgeSliceResponse)
		require.True(t, ok)
	}
	require.EqualValues(t, 9, state().PurgedRevision)
}

func TestWhatCannotBeDecodedHaltsTheReplica(t *testing.T) {
	t.Parallel()
	good := encodeEntry(t, 1, put(1, 1, "k", "v", ""))
	newer, older := append([]byte{9}, good[1:]...), append([]byte{1}, good[1:]...)
	unknown := encodeEntry(t, 1, &internalv1.Command{NamespaceId: 1})
	for name, entry := range map[string][]byte{
		"short": good[:10], "cut": good[:len(good)-1], "a newer format": newer, "the format without a clock": older, "an unknown command": unknown,
	} {
		_, err := newShard(t).try(entry)
		require.ErrorIs(t, err, machine.ErrBadEntry, name)
	}
}

// Whatever the bytes of an entry are, applying it ends with results or with an
// error, and never with a panic.
func FuzzApply(f *testing.F) {
	f.Add(encodeEntry(f, 1, put(1, 1, "k", "v", "id")))
	f.Add(encodeEntry(f, 1, &internalv1.Command{Operation: &internalv1.Command_PurgeSlice{
		PurgeSlice: &internalv1.PurgeSlice{EventsMax: 3},
	}}))
	f.Add(encodeEntry(f, 1, grant(1, 7, 1), putOn(1, 7, "k"), keepAlive(1, 7), revoke(1, 7)))
	f.Add(encodeEntry(f, 1<<40, &internalv1.Command{Operation: &internalv1.Command_ExpireLeases{
		ExpireLeases: &internalv1.ExpireLeases{LeasesMax: 3, KeysMax: 3},
	}}))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, entry []byte) {
		s := newShard(t)
		results, err := s.try(entry)
		if err == nil && len(entry) == 0 {
			require.Empty(t, results)
		}
	})
}
