package peer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/flotillakv/flotilla/gateway/apierr"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// samples has every error that a shard can answer with.
func samples() []error {
	return []error{
		mvcc.ErrKeyNotFound, mvcc.ErrKeyExists, mvcc.ErrLeaseNotFound, mvcc.ErrLeaseExists, mvcc.ErrFencingTokenStale,
		&mvcc.RevisionMismatchError{Actual: 7}, &mvcc.RevisionMismatchError{}, &mvcc.CompactedError{CompactRevision: 8},
		&mvcc.FutureRevisionError{Revision: 9}, &mvcc.InvalidError{Field: "success[1].put", Message: "is bad"},
		&mvcc.InvalidError{Field: "\xff", Message: "\xfe"},
		&mvcc.TooLargeError{Limit: "txn_keys_max", Value: 2, Max: 1}, &mvcc.DuplicateKeyError{},
		&tenancy.TooLargeError{Limit: "request_bytes_max", Value: 2, Max: 1},
		watch.ErrWatchNotFound, watch.ErrWatchIDInUse, watch.ErrStalled,
		&machine.AlreadyAppliedError{Revision: 3}, &machine.WrongEpochError{Epoch: 4},
		&tenancy.QuotaError{Limit: "watches_max", Value: 5}, &tenancy.QuotaError{Limit: "rate", Value: 5, RetryAfter: time.Second},
		&shards.BusyError{Shard: 3, Queue: "tenant", RetryAfter: 50 * time.Millisecond},
		&shards.NotLeaderError{Shard: 3}, &shards.NotLeaderError{Shard: 3, Leader: 2, Node: "n2"},
		shards.ErrShardNotFound, shards.ErrStopping, shards.ErrDiskFull, &shards.LevelError{Needs: 3, Has: 2}, tenancy.ErrNamespaceNotFound,
		shards.ErrOutcomeUnknown, fmt.Errorf("%w: %w", shards.ErrOutcomeUnknown, context.DeadlineExceeded),
		fmt.Errorf("%w: %w", shards.ErrOutcomeUnknown, context.Canceled),
		context.DeadlineExceeded, context.Canceled,
	}
}

// travel sends an error to another node.
func travel(t *testing.T, err error) error {
	t.Helper()
	encoded, marshalErr := proto.Marshal(encodeError(err))
	require.NoError(t, marshalErr)
	var arrived internalv1.PeerError
	require.NoError(t, proto.Unmarshal(encoded, &arrived))
	return decodeError("n9", &arrived)
}

// The caller is told the same by the node that he asks as he would be by the one
// that answered, whatever wraps the error.
func TestErrorsComeOutAsTheyWentIn(t *testing.T) {
	t.Parallel()
	for _, err := range samples() {
		for _, sent := range []error{err, fmt.Errorf("propose to shard 3: %w", err)} {
			got := travel(t, sent)
			require.Empty(t, cmp.Diff(apierr.ToProto(err, "r"), apierr.ToProto(got, "r"), protocmp.Transform()), "%v", err)
			require.False(t, apierr.IsInternal(got), "%v", err)
			require.Equal(t, mvcc.IsRefusal(err), mvcc.IsRefusal(got), "%v", err)
			require.Equal(t, errors.Is(err, shards.ErrOutcomeUnknown), errors.Is(got, shards.ErrOutcomeUnknown), "%v", err)
		}
	}
	var moved *shards.NotLeaderError
	require.ErrorAs(t, travel(t, &shards.NotLeaderError{Shard: 3, Leader: 2, Node: "n2"}), &moved)
	require.Equal(t, shards.NotLeaderError{Shard: 3, Leader: 2, Node: "n2"}, *moved)
}

// What the table does not know is a fault, whose text is for the log alone.
func TestUnknownErrorsAreFaults(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		travel(t, errors.New("secret of the storage \xff")),
		decodeError("n9", &internalv1.PeerError{Kind: 9999, Text: "of a newer version"}),
		decodeError("n9", nil),
	} {
		require.True(t, apierr.IsInternal(err))
		require.ErrorContains(t, err, "node n9 failed")
		require.NotContains(t, apierr.ToProto(err, "").GetMessage(), "secret")
	}
	require.LessOrEqual(t, len(encodeError(errors.New(string(make([]byte, 1<<20)))).GetText()), textBytesMax)
}

// Every kind has one row, and a sample that reaches it.
func TestEveryKindHasARow(t *testing.T) {
	t.Parallel()
	reached := map[internalv1.PeerErrorKind]bool{internalv1.PeerErrorKind_PEER_ERROR_KIND_UNSPECIFIED: true}
	for _, err := range samples() {
		reached[encodeError(err).GetKind()] = true
	}
	rows := map[internalv1.PeerErrorKind]bool{}
	for i := range table {
		require.False(t, rows[table[i].kind], "%v has two rows", table[i].kind)
		rows[table[i].kind] = true
	}
	for number := range internalv1.PeerErrorKind_name {
		require.True(t, reached[internalv1.PeerErrorKind(number)], "no sample is a %v", internalv1.PeerErrorKind(number))
	}
	require.Len(t, rows, len(internalv1.PeerErrorKind_name)-1)
}

// What another node may ask is bounded, whatever it says.
func TestQueriesOfOtherNodesAreHeldToTheHardLimits(t *testing.T) {
	t.Parallel()
	q, err := decodeQuery(&internalv1.PeerQuery{KeysMax: 1 << 60, Request: &internalv1.PeerQuery_Range{Range: &flotillav1.RangeRequest{}}})
	require.NoError(t, err)
	require.Equal(t, rangeKeysMax, q.KeysMax)
	require.Equal(t, rangeBytesMax, q.BytesMax)
	for name, p := range map[string]*internalv1.PeerQuery{
		"nothing":     {},
		"no key":      {Request: &internalv1.PeerQuery_Get{Get: &flotillav1.GetRequest{}}},
		"a large key": {Request: &internalv1.PeerQuery_Get{Get: &flotillav1.GetRequest{Key: make([]byte, 1<<20)}}},
		"a transaction that writes": {Request: &internalv1.PeerQuery_Txn{Txn: &flotillav1.TxnRequest{
			Success: []*flotillav1.TxnOperation{{Operation: &flotillav1.TxnOperation_Put{Put: &flotillav1.PutRequest{Key: []byte("a")}}}},
		}}},
	} {
		_, err := decodeQuery(p)
		var invalid *mvcc.InvalidError
		var large *mvcc.TooLargeError
		require.True(t, errors.As(err, &invalid) || errors.As(err, &large), "%s: %v", name, err)
	}
}
