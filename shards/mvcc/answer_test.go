package mvcc_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

// TestEqualsStayInKeyOrder orders more keys than sorting can keep in order by
// chance.
func TestEqualsStayInKeyOrder(t *testing.T) {
	t.Parallel()
	s := newSpace()
	const keys = 100
	for i := range keys {
		s.put(t, &flotillav1.PutRequest{Key: fmt.Appendf(nil, "%02d", i), Value: fmt.Append(nil, i%3)})
	}
	for _, descending := range []bool{false, true} {
		res, err := mvcc.Range(s.store, &s.state, &flotillav1.RangeRequest{
			SortTarget: flotillav1.SortTarget_SORT_TARGET_VALUE, Descending: descending,
		}, mvcc.ReadLimits{})
		require.NoError(t, err)
		require.Len(t, res.GetKvs(), keys)
		for i, kv := range res.GetKvs()[1:] {
			before := res.GetKvs()[i]
			if string(before.GetValue()) == string(kv.GetValue()) {
				require.Less(t, string(before.GetKey()), string(kv.GetKey()))
			}
		}
	}
}

// TestAnswersShareNothing overwrites the request, uses the storage, and appends
// to what was answered: no answer may change by it. Callers reuse their buffers.
func TestAnswersShareNothing(t *testing.T) {
	t.Parallel()
	s := newSpace()
	for _, key := range []string{"a", "ab", "b"} {
		s.put(t, &flotillav1.PutRequest{Key: b(key), Value: b("value of " + key)})
	}
	get := &flotillav1.GetRequest{Key: b("a")}
	got, err := mvcc.Get(s.store, &s.state, get)
	require.NoError(t, err)
	ranged, err := mvcc.Range(s.store, &s.state, &flotillav1.RangeRequest{Limit: 2}, mvcc.ReadLimits{})
	require.NoError(t, err)
	put := &flotillav1.PutRequest{Key: b("a"), Value: b("new"), PrevKv: true}
	replaced, err := mvcc.Put(s.store, &s.state, s.hooks, put)
	require.NoError(t, err)
	deletion := deleteRange(&flotillav1.KeyRange{Prefix: b("a")})
	deletion.PrevKv = true
	deleted, err := mvcc.Delete(s.store, &s.state, s.hooks, deletion)
	require.NoError(t, err)

	answers := []fmt.Stringer{got, ranged, replaced, deleted}
	var before []string
	for _, answer := range answers {
		before = append(before, answer.String())
	}
	copy(get.GetKey(), "?")
	copy(put.GetKey(), "?")
	copy(put.GetValue(), "???")
	for _, kv := range append(append(ranged.GetKvs(), deleted.GetPrevKvs()...), got.GetKv(), replaced.GetPrevKv()) {
		_ = append(kv.GetKey(), '!')
		_ = append(kv.GetValue(), '!')
	}
	s.put(t, &flotillav1.PutRequest{Key: b("c"), Value: b("something else")})
	for i, answer := range answers {
		require.Equal(t, before[i], answer.String())
	}
}
