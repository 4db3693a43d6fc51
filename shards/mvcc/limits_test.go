package mvcc_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/mvcc/mvcctest"
)

// space is a namespace in memory.
type space struct {
	store *mvcctest.Store
	hooks *mvcctest.Hooks
	state mvcc.State
}

func newSpace() *space {
	return &space{store: mvcctest.NewStore(), hooks: mvcctest.NewHooks(7), state: mvcc.NewState()}
}

func (s *space) put(tb testing.TB, req *flotillav1.PutRequest) {
	tb.Helper()
	_, err := mvcc.Put(s.store, &s.state, s.hooks, req)
	require.NoError(tb, err)
}

func (s *space) txn(req *flotillav1.TxnRequest) (*flotillav1.TxnResponse, error) {
	return mvcc.Txn(s.store, &s.state, s.hooks, req)
}

// refuses expects a limit to refuse a mutation, and nothing to be changed.
func (s *space) refuses(t *testing.T, limit string, run func() error) {
	t.Helper()
	stateBefore := s.state
	versionsBefore, eventsBefore := s.store.Contents()
	err := run()
	var tooLarge *mvcc.TooLargeError
	require.ErrorAs(t, err, &tooLarge)
	require.Equal(t, limit, tooLarge.Limit)
	require.Greater(t, tooLarge.Value, tooLarge.Max)
	require.Equal(t, stateBefore, s.state)
	versions, events := s.store.Contents()
	require.True(t, len(versions) == len(versionsBefore) && len(events) == len(eventsBefore), "storage was changed")
}

// TestBoundsOfTransactions goes right up to each bound on the cost of a
// transaction, and one step beyond.
func TestBoundsOfTransactions(t *testing.T) {
	t.Parallel()
	all := &flotillav1.KeyRange{}

	t.Run("keys visited", func(t *testing.T) {
		t.Parallel()
		s := newSpace()
		for i := range mvcc.TxnKeysMax + 1 {
			s.put(t, &flotillav1.PutRequest{Key: fmt.Appendf(nil, "%06d", i)})
		}
		allButOne := &flotillav1.KeyRange{Start: b("000001")}
		countOf := func(keys *flotillav1.KeyRange) *flotillav1.RangeRequest {
			return &flotillav1.RangeRequest{Keys: keys, CountOnly: true}
		}
		anyLease := &flotillav1.Compare{
			Subject: &flotillav1.Compare_Range{Range: all}, Target: &flotillav1.Compare_Lease{Lease: 0},
		}
		for _, req := range []*flotillav1.TxnRequest{
			{Compare: []*flotillav1.Compare{anyLease}},
			{Success: operations(countOf(all))},
			{Success: operations(countOf(allButOne), countOf(&flotillav1.KeyRange{Prefix: b("000000")}))},
			{Success: operations(deleteRange(all))},
		} {
			s.refuses(t, "txn_keys_max", func() error { _, err := s.txn(req); return err })
		}
		s.refuses(t, "txn_keys_max", func() error {
			_, err := mvcc.Delete(s.store, &s.state, s.hooks, deleteRange(all))
			return err
		})

		// Outside of the machine any number may be counted, but not ordered.
		counted, err := mvcc.Range(s.store, &s.state, countOf(all), mvcc.ReadLimits{})
		require.NoError(t, err)
		require.EqualValues(t, mvcc.TxnKeysMax+1, counted.GetCount())
		s.refuses(t, "sort_keys_max", func() error {
			_, err := mvcc.Range(s.store, &s.state, &flotillav1.RangeRequest{SortTarget: flotillav1.SortTarget_SORT_TARGET_VALUE}, mvcc.ReadLimits{})
			return err
		})

		s.refuses(t, "txn_keys_max", func() error {
			_, err := s.txn(&flotillav1.TxnRequest{Success: operations(&flotillav1.RangeRequest{KeysOnly: true, SortTarget: flotillav1.SortTarget_SORT_TARGET_VALUE})})
			return err
		})
		deleted, err := mvcc.Delete(s.store, &s.state, s.hooks, deleteRange(allButOne))
		require.NoError(t, err)
		require.EqualValues(t, mvcc.TxnKeysMax, deleted.GetDeleted())
		require.EqualValues(t, 1, s.state.Keys)
	})

	t.Run("bytes removed", func(t *testing.T) {
		t.Parallel()
		s := newSpace()
		keyBytes := mvcc.HardLimits.KeyBytesMax
		most := mvcc.TxnRemovedBytesMax / keyBytes
		for i := range most + 1 {
			key := bytes.Repeat([]byte{'k'}, keyBytes)
			copy(key, fmt.Sprintf("%06d", i))
			s.put(t, &flotillav1.PutRequest{Key: key})
		}
		s.refuses(t, "txn_removed_bytes_max", func() error {
			_, err := mvcc.Delete(s.store, &s.state, s.hooks, deleteRange(all))
			return err
		})
		deleted, err := mvcc.Delete(s.store, &s.state, s.hooks, deleteRange(&flotillav1.KeyRange{Start: b("000001")}))
		require.NoError(t, err)
		require.EqualValues(t, most, deleted.GetDeleted())
	})

	t.Run("bytes answered", func(t *testing.T) {
		t.Parallel()
		s := newSpace()
		const keyBytes, valueBytes = 1, 1 << 20
		for i := range 4 { // together just above TxnAnswerBytesMax
			s.put(t, &flotillav1.PutRequest{Key: fmt.Append(nil, i), Value: make([]byte, valueBytes)})
		}
		var gets, puts []proto.Message
		for i := range 4 {
			gets = append(gets, &flotillav1.GetRequest{Key: fmt.Append(nil, i)})
			puts = append(puts, &flotillav1.PutRequest{Key: fmt.Append(nil, i), PrevKv: true})
		}
		whole := &flotillav1.RangeRequest{SortTarget: flotillav1.SortTarget_SORT_TARGET_KEY}
		deleteAll := deleteRange(all)
		deleteAll.PrevKv = true
		byVersion := &flotillav1.RangeRequest{SortTarget: flotillav1.SortTarget_SORT_TARGET_VERSION}
		for _, list := range [][]proto.Message{gets, puts, {whole}, {byVersion}, {deleteAll}} {
			s.refuses(t, "txn_answer_bytes_max", func() error {
				_, err := s.txn(&flotillav1.TxnRequest{Success: operations(list...)})
				return err
			})
		}
		res, err := s.txn(&flotillav1.TxnRequest{Success: operations(gets[:3]...)})
		require.NoError(t, err)
		require.LessOrEqual(t, proto.Size(res), 3*(keyBytes+valueBytes+mvcc.AnswerKeyBytes))

		part := &flotillav1.RangeRequest{Limit: 3}
		res, err = s.txn(&flotillav1.TxnRequest{Success: operations(part)})
		require.NoError(t, err)
		require.Len(t, res.GetResponses()[0].GetRange().GetKvs(), 3)
		require.True(t, res.GetResponses()[0].GetRange().GetMore())
	})

	t.Run("bytes ordered", func(t *testing.T) {
		t.Parallel()
		s := newSpace()
		for i := range 16 { // together just above SortBytesMax
			s.put(t, &flotillav1.PutRequest{Key: fmt.Append(nil, i), Value: make([]byte, mvcc.SortBytesMax/16)})
		}
		byValue := &flotillav1.RangeRequest{SortTarget: flotillav1.SortTarget_SORT_TARGET_VALUE, KeysOnly: true}
		s.refuses(t, "sort_bytes_max", func() error {
			_, err := mvcc.Range(s.store, &s.state, byValue, mvcc.ReadLimits{})
			return err
		})
		byVersion := &flotillav1.RangeRequest{SortTarget: flotillav1.SortTarget_SORT_TARGET_VERSION, KeysOnly: true}
		res, err := mvcc.Range(s.store, &s.state, byVersion, mvcc.ReadLimits{})
		require.NoError(t, err, "values that are neither answered nor ordered by are not held")
		require.Len(t, res.GetKvs(), 16)
	})
}

// TestAnswersFitTheirBound expects an encoded answer to be no larger than what
// was counted for it, whatever its numbers are.
func TestAnswersFitTheirBound(t *testing.T) {
	t.Parallel()
	s := newSpace()
	s.state.Revision = 1<<63 - 1
	s.hooks.Leases[-1] = true
	for i := range 100 {
		s.put(t, &flotillav1.PutRequest{Key: fmt.Appendf(nil, "%03d", i), Value: make([]byte, 1<<14), Lease: -1})
	}
	const bytesMax = 200_000
	res, err := mvcc.Range(s.store, &s.state, &flotillav1.RangeRequest{}, mvcc.ReadLimits{BytesMax: bytesMax})
	require.NoError(t, err)
	require.True(t, res.GetMore())
	bare := &flotillav1.RangeResponse{Kvs: res.GetKvs()}
	require.LessOrEqual(t, proto.Size(bare), bytesMax)
	require.Greater(t, proto.Size(bare), bytesMax*9/10)
}
