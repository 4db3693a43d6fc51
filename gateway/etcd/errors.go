package etcd

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/flotillakv/flotilla/gateway/apierr"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// row says which error of etcd one kind of error is. Clients of etcd find out
// what happened by code and message, so both are etcd's own.
type row struct {
	match func(error) bool
	told  error
}

// table is walked from the top; the first match counts. What would be told as
// Unavailable by etcd is told so here: its clients try writes again only when
// they were surely not sent.
//
//nolint:gochecknoglobals // a table that nothing changes
var table = []row{
	{is(mvcc.ErrKeyNotFound), rpctypes.ErrGRPCKeyNotFound},
	{is(mvcc.ErrLeaseNotFound), rpctypes.ErrGRPCLeaseNotFound},
	{is(mvcc.ErrLeaseExists), rpctypes.ErrGRPCLeaseExist},
	{as[*mvcc.CompactedError], rpctypes.ErrGRPCCompacted},
	{as[*mvcc.FutureRevisionError], rpctypes.ErrGRPCFutureRev},
	{as[*mvcc.DuplicateKeyError], rpctypes.ErrGRPCDuplicateKey},
	{tooManyOperations, rpctypes.ErrGRPCTooManyOps},
	{as[*mvcc.TooLargeError], rpctypes.ErrGRPCRequestTooLarge},
	{as[*tenancy.TooLargeError], rpctypes.ErrGRPCRequestTooLarge},
	{is(shards.ErrOutcomeUnknown), rpctypes.ErrGRPCTimeout},
	{as[*shards.BusyError], rpctypes.ErrGRPCRequestTooManyRequests},
	{storesTooMuch, rpctypes.ErrGRPCNoSpace},
	{as[*tenancy.QuotaError], rpctypes.ErrGRPCRequestTooManyRequests},
	{as[*shards.NotLeaderError], rpctypes.ErrGRPCNoLeader},
	{as[*shards.UnreachableError], rpctypes.ErrGRPCNoLeader},
	{as[*shards.LevelError], rpctypes.ErrGRPCNotCapable},
	{as[*machine.WrongEpochError], rpctypes.ErrGRPCLeaderChanged},
	{is(shards.ErrShardNotFound), rpctypes.ErrGRPCLeaderChanged},
	{is(shards.ErrStopping), rpctypes.ErrGRPCStopped},
	{is(shards.ErrDiskFull), rpctypes.ErrGRPCNoSpace},
	{is(tenancy.ErrUnauthenticated), rpctypes.ErrGRPCInvalidAuthToken},
	{is(tenancy.ErrTenantSuspended), rpctypes.ErrGRPCPermissionDenied},
	{is(tenancy.ErrPermissionDenied), rpctypes.ErrGRPCPermissionDenied},
	{is(tenancy.ErrNamespaceNotFound), errNamespaceNotFound},
}

// Errors that etcd has no word for.
var (
	errNamespaceNotFound = status.Error(codes.NotFound, "flotilla: the namespace does not exist: create it with `flotilla namespace create`")
	errAnswerTooLarge    = status.Error(codes.ResourceExhausted, "flotilla: the answer is larger than 128 MiB: set a limit, or use RangeStream")
	errFault             = status.Error(codes.Internal, "flotilla: the server failed; this is not the request's fault")
)

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func as[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func tooManyOperations(err error) bool {
	e, ok := errors.AsType[*mvcc.TooLargeError](err)
	return ok && (e.Limit == "txn_operations_max" || e.Limit == "txn_operations_total_max")
}

// storesTooMuch tells quotas of what is stored from those that waiting helps with.
func storesTooMuch(err error) bool {
	e, ok := errors.AsType[*tenancy.QuotaError](err)
	return ok && (e.Limit == "stored_bytes_max" || e.Limit == "keys_max")
}

// toStatus returns err as etcd's clients are told. fault says that it is the
// platform's: whoever answers must log it.
func toStatus(err error) (told error, fault bool) {
	if err == nil {
		return nil, false
	}
	if _, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err); ok {
		return err, false
	}
	for i := range table {
		if table[i].match(err) {
			return table[i].told, false
		}
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err(), false
	case as[*mvcc.InvalidError](err), as[*tenancy.InvalidNameError](err):
		return status.Error(codes.InvalidArgument, "flotilla: "+apierr.ToProto(err, "").GetMessage()), false
	}
	return errFault, true
}
