package apierr

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// sample is an error and what the API says about it.
type sample struct {
	name       string
	err        error
	code       connect.Code
	status     int
	reason     flotillav1.Reason
	metadata   map[string]string
	retryAfter time.Duration
	message    string
}

// samples has at least one error for each row of the table, and one that the
// table does not know.
func samples() []sample {
	return []sample{
		{
			name: "revision mismatch", err: &mvcc.RevisionMismatchError{Actual: 7},
			code: connect.CodeAborted, status: 412, reason: flotillav1.Reason_REASON_REVISION_MISMATCH,
			metadata: map[string]string{"mod_revision": "7"}, message: "the key's mod_revision is 7",
		},
		{
			name: "key exists", err: mvcc.ErrKeyExists,
			code: connect.CodeAlreadyExists, status: 412, reason: flotillav1.Reason_REASON_KEY_EXISTS,
			message: "the key exists: read",
		},
		{
			name: "key not found", err: mvcc.ErrKeyNotFound,
			code: connect.CodeNotFound, status: 404, reason: flotillav1.Reason_REASON_KEY_NOT_FOUND,
			message: "the key does not exist",
		},
		{
			name: "compacted", err: &mvcc.CompactedError{CompactRevision: 90},
			code: connect.CodeOutOfRange, status: 410, reason: flotillav1.Reason_REASON_REVISION_COMPACTED,
			metadata: map[string]string{"compact_revision": "90"}, message: "90",
		},
		{
			name: "in the future", err: &mvcc.FutureRevisionError{Revision: 12},
			code: connect.CodeOutOfRange, status: 400, reason: flotillav1.Reason_REASON_REVISION_IN_FUTURE,
			metadata: map[string]string{"revision": "12"}, message: "revision 12",
		},
		{
			name: "invalid field", err: &mvcc.InvalidError{Field: "success[2].put.key", Message: "must be set"},
			code: connect.CodeInvalidArgument, status: 400, reason: flotillav1.Reason_REASON_INVALID_FIELD,
			metadata: map[string]string{"field": "success[2].put.key"}, message: "success[2].put.key: must be set",
		},
		{
			name: "invalid field that is not UTF-8", err: &mvcc.InvalidError{Field: "a\xff", Message: "is \xff"},
			code: connect.CodeInvalidArgument, status: 400, reason: flotillav1.Reason_REASON_INVALID_FIELD,
			metadata: map[string]string{"field": "a\uFFFD"}, message: "is \uFFFD",
		},
		{
			name: "key too large", err: &mvcc.TooLargeError{Limit: "key_bytes_max", Value: 5000, Max: 4096},
			code: connect.CodeInvalidArgument, status: 413, reason: flotillav1.Reason_REASON_TOO_LARGE,
			metadata: map[string]string{"limit": "key_bytes_max", "value": "5000", "max": "4096"}, message: "5000 is more",
		},
		{
			name: "request too large", err: &tenancy.TooLargeError{Limit: "request_bytes_max", Value: 11, Max: 10},
			code: connect.CodeInvalidArgument, status: 413, reason: flotillav1.Reason_REASON_TOO_LARGE,
			metadata: map[string]string{"limit": "request_bytes_max", "value": "11", "max": "10"}, message: "11 is more",
		},
		{
			name: "duplicate key", err: &mvcc.DuplicateKeyError{},
			code: connect.CodeInvalidArgument, status: 400, reason: flotillav1.Reason_REASON_DUPLICATE_KEY,
			message: "writes a key twice",
		},
		{
			name: "lease not found", err: mvcc.ErrLeaseNotFound,
			code: connect.CodeNotFound, status: 404, reason: flotillav1.Reason_REASON_LEASE_NOT_FOUND,
			message: "the lease does not exist",
		},
		{
			name: "lease exists", err: mvcc.ErrLeaseExists,
			code: connect.CodeAlreadyExists, status: 409, reason: flotillav1.Reason_REASON_LEASE_EXISTS,
			message: "a lease of this id exists: take another",
		},
		{
			name: "watch not found", err: watch.ErrWatchNotFound,
			code: connect.CodeNotFound, status: 404, reason: flotillav1.Reason_REASON_WATCH_NOT_FOUND,
			message: "the stream has no watch of this id: it may have ended",
		},
		{
			name: "watch id in use", err: watch.ErrWatchIDInUse,
			code: connect.CodeAlreadyExists, status: 409, reason: flotillav1.Reason_REASON_ALREADY_EXISTS,
			message: "the stream has a watch of this id already: take another",
		},
		{
			name: "stream stalled", err: fmt.Errorf("%w for 30s: write: timeout", watch.ErrStalled),
			code: connect.CodeUnavailable, status: 503, reason: flotillav1.Reason_REASON_STREAM_STALLED,
			message: "the caller took no answers: create the watches again", retryAfter: 100 * time.Millisecond,
		},
		{
			name: "fencing token stale", err: mvcc.ErrFencingTokenStale,
			code: connect.CodeFailedPrecondition, status: 412, reason: flotillav1.Reason_REASON_FENCING_TOKEN_STALE,
			message: "stop acting",
		},
		{
			name: "already applied", err: &machine.AlreadyAppliedError{Revision: 3},
			code: connect.CodeAlreadyExists, status: 409, reason: flotillav1.Reason_REASON_ALREADY_APPLIED,
			metadata: map[string]string{"revision": "3"}, message: "do not send it again",
		},
		{
			name: "wrong epoch", err: &machine.WrongEpochError{Epoch: 2},
			code: connect.CodeUnavailable, status: 503, reason: flotillav1.Reason_REASON_SHARD_MOVING,
			retryAfter: 50 * time.Millisecond, message: "the namespace is moving",
		},
		{
			name: "outcome unknown in time", err: fmt.Errorf("%w: %w", shards.ErrOutcomeUnknown, context.DeadlineExceeded),
			code: connect.CodeDeadlineExceeded, status: 504, reason: flotillav1.Reason_REASON_OUTCOME_UNKNOWN,
			message: "may or may not have been applied",
		},
		{
			name: "outcome unknown", err: shards.ErrOutcomeUnknown,
			code: connect.CodeUnknown, status: 504, reason: flotillav1.Reason_REASON_OUTCOME_UNKNOWN,
			message: "may or may not have been applied",
		},
		{
			name: "outcome unknown of a canceled call", err: fmt.Errorf("%w: %w", shards.ErrOutcomeUnknown, context.Canceled),
			code: connect.CodeUnknown, status: 504, reason: flotillav1.Reason_REASON_OUTCOME_UNKNOWN,
			message: "may or may not have been applied",
		},
		{
			name: "busy catalog", err: fmt.Errorf("create a namespace: %w", catalog.ErrConflict),
			code: connect.CodeResourceExhausted, status: http.StatusTooManyRequests, reason: flotillav1.Reason_REASON_SHARD_BUSY,
			retryAfter: 100 * time.Millisecond,
			message:    "the catalog was changed by somebody else at the same time: nothing was applied",
		},
		{
			name: "busy", err: &shards.BusyError{Shard: 3, Queue: "tenant", RetryAfter: 2 * time.Second},
			code: connect.CodeResourceExhausted, status: 429, reason: flotillav1.Reason_REASON_SHARD_BUSY,
			metadata: map[string]string{"queue": "tenant"}, retryAfter: 2 * time.Second, message: "too many requests",
		},
		{
			name: "no leader", err: &shards.NotLeaderError{Shard: 3},
			code: connect.CodeUnavailable, status: 503, reason: flotillav1.Reason_REASON_NOT_LEADER,
			retryAfter: 50 * time.Millisecond, message: "has no leader",
		},
		{
			name: "other leader", err: &shards.NotLeaderError{Shard: 3, Leader: 2},
			code: connect.CodeUnavailable, status: 503, reason: flotillav1.Reason_REASON_NOT_LEADER,
			metadata: map[string]string{"leader": "2"}, retryAfter: 50 * time.Millisecond, message: "has no leader",
		},
		{
			name: "unreachable", err: &shards.UnreachableError{Node: "secret", Cause: context.DeadlineExceeded},
			code: connect.CodeUnavailable, status: 503, reason: flotillav1.Reason_REASON_NOT_LEADER,
			retryAfter: 50 * time.Millisecond, message: "cannot be reached from here",
		},
		{
			name: "shard not here", err: shards.ErrShardNotFound,
			code: connect.CodeUnavailable, status: 503, reason: flotillav1.Reason_REASON_SHARD_MOVING,
			retryAfter: 50 * time.Millisecond, message: "try again",
		},
		{
			name: "a command that not all nodes know", err: &shards.LevelError{Needs: 2, Has: 1},
			code: connect.CodeUnimplemented, status: 501, reason: flotillav1.Reason_REASON_UNIMPLEMENTED,
			message: "not every node",
		},
		{
			name: "stopping", err: shards.ErrStopping,
			code: connect.CodeUnavailable, status: 503, reason: flotillav1.Reason_REASON_SHUTTING_DOWN,
			retryAfter: 100 * time.Millisecond, message: "the node is stopping",
		},
		{
			name: "disk full", err: shards.ErrDiskFull,
			code: connect.CodeResourceExhausted, status: 507, reason: flotillav1.Reason_REASON_DISK_FULL,
			retryAfter: 5 * time.Second, message: "nearly full",
		},
		{
			name: "unauthenticated", err: tenancy.ErrUnauthenticated,
			code: connect.CodeUnauthenticated, status: 401, reason: flotillav1.Reason_REASON_UNAUTHENTICATED,
			message: "Bearer <API key or token>",
		},
		{
			name: "permission denied", err: tenancy.ErrPermissionDenied,
			code: connect.CodePermissionDenied, status: 403, reason: flotillav1.Reason_REASON_PERMISSION_DENIED,
			message: "does not allow",
		},
		{
			name: "tenant not found", err: tenancy.ErrTenantNotFound,
			code: connect.CodeNotFound, status: 404, reason: flotillav1.Reason_REASON_TENANT_NOT_FOUND,
			message: "the tenant does not exist",
		},
		{
			name: "namespace not found", err: tenancy.ErrNamespaceNotFound,
			code: connect.CodeNotFound, status: 404, reason: flotillav1.Reason_REASON_NAMESPACE_NOT_FOUND,
			message: "the namespace does not exist",
		},
		{
			name: "already exists", err: &tenancy.AlreadyExistsError{What: "namespace", Name: "app"},
			code: connect.CodeAlreadyExists, status: 409, reason: flotillav1.Reason_REASON_ALREADY_EXISTS,
			metadata: map[string]string{"name": "app"}, message: `the namespace "app" exists already`,
		},
		{
			name: "quota", err: &tenancy.QuotaError{Limit: "namespaces_max", Value: 3},
			code: connect.CodeResourceExhausted, status: 429, reason: flotillav1.Reason_REASON_QUOTA_EXCEEDED,
			metadata: map[string]string{"limit": "namespaces_max", "value": "3"}, message: "namespaces_max of 3 is reached",
		},
		{
			name: "quota that refills", err: &tenancy.QuotaError{Limit: "requests", Value: 3, RetryAfter: time.Second},
			code: connect.CodeResourceExhausted, status: 429, reason: flotillav1.Reason_REASON_QUOTA_EXCEEDED,
			metadata: map[string]string{"limit": "requests", "value": "3"}, retryAfter: time.Second, message: "is reached",
		},
		{
			name: "invalid name", err: &tenancy.InvalidNameError{What: "namespace", Name: "A\xff"},
			code: connect.CodeInvalidArgument, status: 400, reason: flotillav1.Reason_REASON_INVALID_FIELD,
			metadata: map[string]string{"field": "namespace"}, message: `"A\xff" cannot be the name of a namespace`,
		},
		{
			name: "API key not found", err: catalog.ErrAPIKeyNotFound,
			code: connect.CodeNotFound, status: 404, reason: flotillav1.Reason_REASON_API_KEY_NOT_FOUND,
			message: "no API key of this id",
		},
		{
			name: "no such path", err: ErrNoSuchPath,
			code: connect.CodeUnimplemented, status: 404, reason: flotillav1.Reason_REASON_UNIMPLEMENTED,
			message: "there is nothing at this path: keys are at /v1/kv/{key}",
		},
		{
			name: "wrong method", err: &MethodError{Allow: "GET, PUT"},
			code: connect.CodeUnimplemented, status: 405, reason: flotillav1.Reason_REASON_UNIMPLEMENTED,
			message: "use one of GET, PUT",
		},
		{
			name: "issuer that does not answer", err: fmt.Errorf("%w: %w: refused", auth.ErrBadToken, tenancy.ErrIssuerUnreachable),
			code: connect.CodeUnauthenticated, status: 401, reason: flotillav1.Reason_REASON_UNAUTHENTICATED,
			message: "the credential is missing or not valid: send",
		},
		{
			name: "issuer", err: &auth.InvalidIssuerError{Field: "rules", Message: "takes 1 to 16 rules"},
			code: connect.CodeInvalidArgument, status: 400, reason: flotillav1.Reason_REASON_INVALID_FIELD,
			metadata: map[string]string{"field": "rules"},
		},
		{
			name: "suspended tenant", err: fmt.Errorf("log in: %w", tenancy.ErrTenantSuspended),
			code: connect.CodePermissionDenied, status: 403, reason: flotillav1.Reason_REASON_TENANT_SUSPENDED,
		},
		{
			name: "permissions", err: &tenancy.InvalidPermissionError{Message: "each takes one action or more"},
			code: connect.CodeInvalidArgument, status: 400, reason: flotillav1.Reason_REASON_INVALID_FIELD,
			metadata: map[string]string{"field": "permissions"},
		},
		{
			name: "plan", err: &tenancy.PlanNotFoundError{Plan: "gold"},
			code: connect.CodeInvalidArgument, status: 400, reason: flotillav1.Reason_REASON_PLAN_NOT_FOUND,
		},
		{
			name: "state", err: &tenancy.WrongStateError{What: "the tenant", State: "active"},
			code: connect.CodeFailedPrecondition, status: 409, reason: flotillav1.Reason_REASON_WRONG_STATE,
			metadata: map[string]string{"state": "active"},
		},
		{
			name: "no operator", err: fmt.Errorf("%w: %w", catalog.ErrNoOperator, tenancy.ErrUnauthenticated),
			code: connect.CodeUnauthenticated, status: 401, reason: flotillav1.Reason_REASON_UNAUTHENTICATED,
			message: "the operator's credential is missing or not valid: send \"Authorization: Bearer <op",
		},
		{
			name: "role", err: &catalog.RoleError{Least: catalog.RoleOwner},
			code: connect.CodePermissionDenied, status: 403, reason: flotillav1.Reason_REASON_PERMISSION_DENIED,
			message: "takes the role owner: use the credential of an operator who may",
		},
		{
			name: "failed logins", err: &tenancy.QuotaError{Limit: tenancy.LimitFailedLogins, Value: 60, RetryAfter: time.Second},
			code: connect.CodeResourceExhausted, status: 429, reason: flotillav1.Reason_REASON_QUOTA_EXCEEDED, retryAfter: time.Second,
			metadata: map[string]string{"limit": "failed_logins_per_minute", "value": "60"},
			message:  "of 60 is reached: look for a program that sends a credential which has ended",
		},
		{
			name: "operator", err: catalog.ErrOperatorNotFound,
			code: connect.CodeNotFound, status: 404, reason: flotillav1.Reason_REASON_OPERATOR_NOT_FOUND,
		},
		{
			name: "last owner", err: catalog.ErrLastOwner,
			code: connect.CodeFailedPrecondition, status: 409, reason: flotillav1.Reason_REASON_LAST_OWNER,
		},
		{
			name: "node", err: catalog.ErrNodeNotFound,
			code: connect.CodeNotFound, status: 404, reason: flotillav1.Reason_REASON_NODE_NOT_FOUND,
		},
		{
			name: "removed node", err: catalog.ErrNodeRemoved,
			code: connect.CodeFailedPrecondition, status: 409, reason: flotillav1.Reason_REASON_WRONG_STATE,
		},
		{
			name: "issuer", err: catalog.ErrIssuerNotFound,
			code: connect.CodeNotFound, status: 404, reason: flotillav1.Reason_REASON_ISSUER_NOT_FOUND,
		},
		{
			name: "last API key", err: catalog.ErrLastAPIKey,
			code: connect.CodeFailedPrecondition, status: 409, reason: flotillav1.Reason_REASON_LAST_API_KEY,
			message: "create another key first",
		},
		{
			name: "deadline", err: context.DeadlineExceeded,
			code: connect.CodeDeadlineExceeded, status: 504, reason: flotillav1.Reason_REASON_DEADLINE_EXCEEDED,
			message: "nothing was applied",
		},
		{
			name: "canceled", err: context.Canceled,
			code: connect.CodeCanceled, status: 499, reason: flotillav1.Reason_REASON_CANCELED,
			message: "nothing was applied",
		},
		{
			name: "request that is no message", err: connect.NewError(connect.CodeInvalidArgument, errors.New("unknown field \"kye\"")),
			code: connect.CodeInvalidArgument, status: 400, reason: flotillav1.Reason_REASON_INVALID_FIELD,
			message: `unknown field "kye"`,
		},
		{
			name: "message that is too large", err: connect.NewError(connect.CodeResourceExhausted, errors.New("message is larger than 4 MiB")),
			code: connect.CodeInvalidArgument, status: 413, reason: flotillav1.Reason_REASON_TOO_LARGE,
			message: "split it",
		},
		{
			name: "unimplemented", err: connect.NewError(connect.CodeUnimplemented, errors.New("Watch is not implemented")),
			code: connect.CodeUnimplemented, status: 501, reason: flotillav1.Reason_REASON_UNIMPLEMENTED,
			message: "Watch is not implemented",
		},
		{
			name: "deadline on the wire", err: connect.NewError(connect.CodeDeadlineExceeded, errors.New("too late")),
			code: connect.CodeDeadlineExceeded, status: 504, reason: flotillav1.Reason_REASON_DEADLINE_EXCEEDED,
			message: "nothing was applied",
		},
		{
			name: "canceled on the wire", err: connect.NewError(connect.CodeCanceled, errors.New("gone")),
			code: connect.CodeCanceled, status: 499, reason: flotillav1.Reason_REASON_CANCELED,
			message: "nothing was applied",
		},
		{
			name: "unknown", err: errors.New("secret of the storage"),
			code: connect.CodeInternal, status: 500, reason: flotillav1.Reason_REASON_INTERNAL,
			message: "the server failed; this is not the request's fault. When you report it, name request req-1",
		},
	}
}

func TestSamples(t *testing.T) {
	t.Parallel()
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			// What wraps an error is for the log.
			wrapped := fmt.Errorf("propose to shard 3: %w", s.err)
			for _, err := range []error{s.err, wrapped, ToConnect(wrapped, "req-1")} {
				got := ToProto(err, "req-1")
				require.Equal(t, uint32(s.code), got.GetCode())
				require.Contains(t, got.GetMessage(), s.message)
				require.NotContains(t, got.GetMessage(), "propose to")
				require.NotContains(t, got.GetMessage(), "secret")
				require.Equal(t, s.reason, got.GetInfo().GetReason())
				require.Equal(t, "flotilla", got.GetInfo().GetDomain())
				require.Equal(t, s.metadata, got.GetInfo().GetMetadata())
				require.Equal(t, s.retryAfter, got.GetInfo().GetRetryAfter().AsDuration())
				require.Equal(t, s.reason, ReasonOf(err))
				require.Equal(t, s.status, HTTPStatus(err))
				require.Equal(t, s.reason == flotillav1.Reason_REASON_INTERNAL, IsInternal(err))
			}
		})
	}
}

// TestEveryRowHasASample walks the table: a row that no sample reaches is dead,
// or shadowed by one before it.
func TestEveryRowHasASample(t *testing.T) {
	t.Parallel()
	reached := make([]bool, len(table))
	for _, s := range samples() {
		for i := range table {
			if _, ok := table[i].match(s.err); ok {
				reached[i] = true
				break
			}
		}
	}
	for i, ok := range reached {
		require.True(t, ok, "row %d, %v", i, table[i].reason)
	}
}

// TestEveryReasonIsUsed keeps the enum and the table together.
func TestEveryReasonIsUsed(t *testing.T) {
	t.Parallel()
	used := map[flotillav1.Reason]bool{
		flotillav1.Reason_REASON_UNSPECIFIED: true, // never sent: it says that a reason is missing
		flotillav1.Reason_REASON_INTERNAL:    true, // what the table does not know
	}
	for i := range table {
		used[table[i].reason] = true
	}
	for number, name := range flotillav1.Reason_name {
		require.True(t, used[flotillav1.Reason(number)], "no row says %s", name)
	}
	require.Len(t, used, len(flotillav1.Reason_name))
}

// TestUnknownOutcomeIsNotRetriedBlindly: proxies and generic clients retry
// Unavailable, and what says when.
func TestUnknownOutcomeIsNotRetriedBlindly(t *testing.T) {
	t.Parallel()
	for i := range table {
		r := &table[i]
		if r.reason == flotillav1.Reason_REASON_OUTCOME_UNKNOWN {
			require.NotEqual(t, connect.CodeUnavailable, r.code)
			require.NotEqual(t, http.StatusServiceUnavailable, r.status)
			require.Zero(t, r.retryAfter)
		}
	}
}

func BenchmarkToProto(b *testing.B) {
	for name, err := range map[string]error{
		"first row": fmt.Errorf("apply: %w", &mvcc.RevisionMismatchError{Actual: 7}),
		"disk full": fmt.Errorf("propose: %w", shards.ErrDiskFull),
		"unknown":   errors.New("unknown"),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				ToProto(err, "req-1")
			}
		})
	}
}
