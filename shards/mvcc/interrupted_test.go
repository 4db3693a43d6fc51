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
	require.Equal(t, 1+4, asked, "once in 1024 keys")
}
