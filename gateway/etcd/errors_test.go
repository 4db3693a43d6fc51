package etcd

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// TestErrors tells domain errors as etcd's: its clients must know them.
func TestErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ err, want error }{
		{mvcc.ErrKeyNotFound, rpctypes.ErrKeyNotFound},
		{mvcc.ErrLeaseNotFound, rpctypes.ErrLeaseNotFound},
		{mvcc.ErrLeaseExists, rpctypes.ErrLeaseExist},
		{&mvcc.CompactedError{}, rpctypes.ErrCompacted},
		{&mvcc.FutureRevisionError{}, rpctypes.ErrFutureRev},
		{&mvcc.DuplicateKeyError{}, rpctypes.ErrDuplicateKey},
		{&mvcc.TooLargeError{Limit: "txn_operations_max"}, rpctypes.ErrTooManyOps},
		{&mvcc.TooLargeError{Limit: "txn_operations_total_max"}, rpctypes.ErrTooManyOps},
		{&mvcc.TooLargeError{Limit: "value_bytes_max"}, rpctypes.ErrRequestTooLarge},
		{&tenancy.TooLargeError{}, rpctypes.ErrRequestTooLarge},
		{shards.ErrOutcomeUnknown, rpctypes.ErrTimeout},
		{&shards.BusyError{}, rpctypes.ErrTooManyRequests},
		{&tenancy.QuotaError{}, rpctypes.ErrTooManyRequests},
		{&tenancy.QuotaError{Limit: "leases_max"}, rpctypes.ErrTooManyRequests},
		{&tenancy.QuotaError{Limit: "stored_bytes_max"}, rpctypes.ErrNoSpace},
		{&tenancy.QuotaError{Limit: "keys_max"}, rpctypes.ErrNoSpace},
		{&shards.NotLeaderError{}, rpctypes.ErrNoLeader},
		{&machine.WrongEpochError{}, rpctypes.ErrLeaderChanged},
		{shards.ErrShardNotFound, rpctypes.ErrLeaderChanged},
		{shards.ErrStopping, rpctypes.ErrStopped},
		{shards.ErrDiskFull, rpctypes.ErrNoSpace},
		{tenancy.ErrUnauthenticated, rpctypes.ErrInvalidAuthToken},
		{tenancy.ErrPermissionDenied, rpctypes.ErrPermissionDenied},
	} {
		told, fault := toStatus(fmt.Errorf("wrapped: %w", tt.err))
		require.False(t, fault)
		require.Equal(t, tt.want, rpctypes.Error(told), "%v", tt.err)
	}
	for _, row := range table {
		require.NotEqual(t, codes.Unknown, status.Code(row.told), "%v", row.told)
	}
}

func TestErrorsWithoutAnEtcdOne(t *testing.T) {
	t.Parallel()
	told, fault := toStatus(errors.New("disk on fire at 10.0.0.1"))
	require.True(t, fault)
	require.NotContains(t, told.Error(), "fire", "the cause is not for callers")
	for err, code := range map[error]codes.Code{
		context.Canceled:                       codes.Canceled,
		context.DeadlineExceeded:               codes.DeadlineExceeded,
		&mvcc.InvalidError{Field: "key"}:       codes.InvalidArgument,
		&tenancy.InvalidNameError{What: "x"}:   codes.InvalidArgument,
		tenancy.ErrNamespaceNotFound:           codes.NotFound,
		status.Error(codes.DataLoss, "itself"): codes.DataLoss,
	} {
		told, fault := toStatus(err)
		require.False(t, fault)
		require.Equal(t, code, status.Code(told), "%v", err)
	}
	told, fault = toStatus(nil)
	require.NoError(t, told)
	require.False(t, fault)
}
