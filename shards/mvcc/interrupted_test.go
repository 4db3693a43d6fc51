package mvcc_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

// A count visits every key however little it answers, so it must be possible to
// end it: its caller may be gone.
func TestReadThatNobodyWaitsForEnds(t *testing.T) {
	t.Parallel()
	s := newSpace()
	for i := range 5000 {
		s.put(t, &flotillav1.PutRequest{Key: fmt.Appendf(nil, "k%05d", i)})
	}
	asked := 0
	count := func(interrupted func() error) (*flotillav1.RangeResponse, error) {
		return mvcc.Range(s.store, &s.state, &flotillav1.RangeRequest{CountOnly: true}, mvcc.ReadLimits{Interrupted: interrupted})
	}
	_, err := count(func() error { asked++; return context.Canceled })
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, asked)

	response, err := count(func() error { asked++; return nil })
	require.NoError(t, err)
	require.EqualValues(t, 5000, response.GetCount())
	require.Equal(t, 1+39, asked, "once in 128 keys")
}

// The ranges of a transaction count together, and so do keys that are deleted: each
// alone would be too short to be asked about.
func TestShortRangesOfOneTransactionAreLongTogether(t *testing.T) {
	t.Parallel()
	s := newSpace()
	for i := range 1000 {
		s.put(t, &flotillav1.PutRequest{Key: fmt.Appendf(nil, "k%05d", i)})
	}
	req := &flotillav1.TxnRequest{}
	for range 10 {
		req.Success = append(req.Success, &flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Range{
			Range: &flotillav1.RangeRequest{CountOnly: true},
		}})
	}
	asked := 0
	_, err := mvcc.ReadTxn(s.store, &s.state, func() error { asked++; return nil }, req)
	require.NoError(t, err)
	require.Equal(t, 10*1000/128, asked)
	_, err = mvcc.Delete(s.store, &s.state, s.hooks, &flotillav1.DeleteRequest{Target: &flotillav1.DeleteRequest_Range{}})
	require.NoError(t, err)
	s.put(t, &flotillav1.PutRequest{Key: []byte("k9")})
	asked = 0
	_, err = mvcc.ReadTxn(s.store, &s.state, func() error { asked++; return nil }, req)
	require.NoError(t, err)
	require.Equal(t, 10*1001/128, asked)
}
