package apierr

import (
	"context"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/flotillakv/flotilla/placement/catalog"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// row says what one kind of error is at the API.
type row struct {
	// match returns the facts of the first error of this kind that err is or
	// wraps. The message comes from that error and not from what wraps it, so
	// that no caller reads what was meant for the log.
	match func(err error) (facts, bool)
	// code is the RPC status, status the one of plain HTTP.
	code   connect.Code
	status int
	reason flotillav1.Reason
	// advice is what to try, the last part of the message.
	advice string
	// retryAfter is when to try again at the earliest, unless the facts say
	// otherwise; 0 when trying again is no use, or is not safe.
	retryAfter time.Duration
}

// facts are what is said about one error.
type facts struct {
	what       string
	metadata   map[string]string
	retryAfter time.Duration
	// advice is what to try, if it is not that of the row.
	advice string
}

// statusClientGone is what servers log for a caller that went away; nobody
// reads it.
const statusClientGone = 499

// table is walked from the top; the first match counts. The rows that answer
// ordinary requests stand first, and those of unknown outcome before those of
// ended contexts: they may wrap them.
//
//nolint:gochecknoglobals // a table that nothing changes
var table = []row{
	{
		match: matchAs(func(e *mvcc.RevisionMismatchError) facts {
			return facts{metadata: map[string]string{"mod_revision": formatUint(e.Actual)}}
		}),
		code: connect.CodeAborted, status: http.StatusPreconditionFailed,
		reason: flotillav1.Reason_REASON_REVISION_MISMATCH,
		advice: "read the key again and decide anew",
	},
	{
		match: matchIs(mvcc.ErrKeyExists),
		code:  connect.CodeAlreadyExists, status: http.StatusPreconditionFailed,
		reason: flotillav1.Reason_REASON_KEY_EXISTS,
		advice: "read the key and decide anew",
	},
	{
		match: matchIs(mvcc.ErrKeyNotFound),
		code:  connect.CodeNotFound, status: http.StatusNotFound,
		reason: flotillav1.Reason_REASON_KEY_NOT_FOUND,
		advice: "check the key, and that the namespace is the right one",
	},
	{
		match: matchAs(func(e *mvcc.CompactedError) facts {
			return facts{metadata: map[string]string{"compact_revision": formatUint(e.CompactRevision)}}
		}),
		code: connect.CodeOutOfRange, status: http.StatusGone,
		reason: flotillav1.Reason_REASON_REVISION_COMPACTED,
		advice: "read at the compact revision or a newer one",
	},
	{
		match: matchAs(func(e *mvcc.FutureRevisionError) facts {
			return facts{metadata: map[string]string{"revision": formatUint(e.Revision)}}
		}),
		code: connect.CodeOutOfRange, status: http.StatusBadRequest,
		reason: flotillav1.Reason_REASON_REVISION_IN_FUTURE,
		advice: "take revisions from the answers of this namespace",
	},
	{
		match: matchAs(func(e *mvcc.InvalidError) facts {
			return facts{metadata: map[string]string{"field": e.Field}}
		}),
		code: connect.CodeInvalidArgument, status: http.StatusBadRequest,
		reason: flotillav1.Reason_REASON_INVALID_FIELD,
	},
	{
		match: matchAs(func(e *mvcc.TooLargeError) facts {
			return facts{metadata: sizeMetadata(e.Limit, e.Value, e.Max)}
		}),
		code: connect.CodeInvalidArgument, status: http.StatusRequestEntityTooLarge,
		reason: flotillav1.Reason_REASON_TOO_LARGE,
		advice: "split it; TenantService.GetLimits tells the limits",
	},
	{
		match: matchAs(func(e *tenancy.TooLargeError) facts {
			return facts{metadata: sizeMetadata(e.Limit, e.Value, e.Max)}
		}),
		code: connect.CodeInvalidArgument, status: http.StatusRequestEntityTooLarge,
		reason: flotillav1.Reason_REASON_TOO_LARGE,
		advice: "split it; TenantService.GetLimits tells the limits",
	},
	{
		match: matchAs(func(*mvcc.DuplicateKeyError) facts { return facts{} }),
		code:  connect.CodeInvalidArgument, status: http.StatusBadRequest,
		reason: flotillav1.Reason_REASON_DUPLICATE_KEY,
		advice: "write each key once, with its last value",
	},
	{
		match: matchIs(mvcc.ErrLeaseNotFound),
		code:  connect.CodeNotFound, status: http.StatusNotFound,
		reason: flotillav1.Reason_REASON_LEASE_NOT_FOUND,
		advice: "grant a new lease",
	},
	{
		match: matchIs(mvcc.ErrLeaseExists),
		code:  connect.CodeAlreadyExists, status: http.StatusConflict,
		reason: flotillav1.Reason_REASON_LEASE_EXISTS,
		advice: "take another id, or let the server choose one",
	},
	{
		match: matchIs(watch.ErrWatchNotFound),
		code:  connect.CodeNotFound, status: http.StatusNotFound,
		reason: flotillav1.Reason_REASON_WATCH_NOT_FOUND,
		advice: "it may have ended by itself; its last answer says why",
	},
	{
		match: matchIs(watch.ErrWatchIDInUse),
		code:  connect.CodeAlreadyExists, status: http.StatusConflict,
		reason: flotillav1.Reason_REASON_ALREADY_EXISTS,
		advice: "take another id, or let the server choose one",
	},
	{
		match: matchIs(watch.ErrStalled),
		code:  connect.CodeUnavailable, status: http.StatusServiceUnavailable,
		reason:     flotillav1.Reason_REASON_STREAM_STALLED,
		advice:     "create the watches again from the revision after the last one seen, and read faster",
		retryAfter: 100 * time.Millisecond,
	},
	{
		match: matchIs(mvcc.ErrFencingTokenStale),
		code:  connect.CodeFailedPrecondition, status: http.StatusPreconditionFailed,
		reason: flotillav1.Reason_REASON_FENCING_TOKEN_STALE,
		advice: "stop acting as the holder",
	},
	{
		match: matchAs(func(e *machine.AlreadyAppliedError) facts {
			return facts{metadata: map[string]string{"revision": formatUint(e.Revision)}}
		}),
		code: connect.CodeAlreadyExists, status: http.StatusConflict,
		reason: flotillav1.Reason_REASON_ALREADY_APPLIED,
		advice: "do not send it again; read the keys if their values are needed",
	},
	{
		match: matchAs(func(*machine.WrongEpochError) facts {
			return facts{what: "the namespace is moving"}
		}),
		code: connect.CodeUnavailable, status: http.StatusServiceUnavailable,
		reason:     flotillav1.Reason_REASON_SHARD_MOVING,
		advice:     "nothing was applied, try again",
		retryAfter: 50 * time.Millisecond,
	},
	{
		match: matchIs(shards.ErrOutcomeUnknown, context.DeadlineExceeded),
		code:  connect.CodeDeadlineExceeded, status: http.StatusGatewayTimeout,
		reason: flotillav1.Reason_REASON_OUTCOME_UNKNOWN,
		advice: adviceUnknown,
	},
	{
		// Never Unavailable: proxies retry that blindly.
		match: matchIs(shards.ErrOutcomeUnknown),
		code:  connect.CodeUnknown, status: http.StatusGatewayTimeout,
		reason: flotillav1.Reason_REASON_OUTCOME_UNKNOWN,
		advice: adviceUnknown,
	},
	{
		match: matchAs(func(e *shards.BusyError) facts {
			return facts{
				what:       "too many requests are waiting",
				metadata:   map[string]string{"queue": e.Queue},
				retryAfter: e.RetryAfter,
			}
		}),
		code: connect.CodeResourceExhausted, status: http.StatusTooManyRequests,
		reason:     flotillav1.Reason_REASON_SHARD_BUSY,
		advice:     "nothing was applied, try again more slowly",
		retryAfter: 50 * time.Millisecond,
	},
	{
		match: matchIs(catalog.ErrConflict),
		code:  connect.CodeResourceExhausted, status: http.StatusTooManyRequests,
		reason:     flotillav1.Reason_REASON_SHARD_BUSY,
		advice:     "nothing was applied, try again more slowly",
		retryAfter: 100 * time.Millisecond,
	},
	{
		match: matchAs(func(e *shards.NotLeaderError) facts {
			f := facts{what: "the namespace's shard has no leader here"}
			if e.Leader != 0 {
				f.metadata = map[string]string{"leader": formatUint(e.Leader)}
			}
			return f
		}),
		code: connect.CodeUnavailable, status: http.StatusServiceUnavailable,
		reason:     flotillav1.Reason_REASON_NOT_LEADER,
		advice:     "nothing was applied, try again",
		retryAfter: 50 * time.Millisecond,
	},
	{
		match: matchAs(func(*shards.UnreachableError) facts {
			return facts{what: "the namespace's shard cannot be reached from here"}
		}),
		code: connect.CodeUnavailable, status: http.StatusServiceUnavailable,
		reason:     flotillav1.Reason_REASON_NOT_LEADER,
		advice:     "nothing was applied, try again",
		retryAfter: 50 * time.Millisecond,
	},
	{
		match: matchIs(shards.ErrShardNotFound),
		code:  connect.CodeUnavailable, status: http.StatusServiceUnavailable,
		reason:     flotillav1.Reason_REASON_SHARD_MOVING,
		advice:     "nothing was applied, try again",
		retryAfter: 50 * time.Millisecond,
	},
	{
		match: matchAs(func(*shards.LevelError) facts {
			return facts{what: "not every node of the cluster knows this operation yet"}
		}),
		code: connect.CodeUnimplemented, status: http.StatusNotImplemented,
		reason: flotillav1.Reason_REASON_UNIMPLEMENTED,
		advice: "nothing was applied; it works once all nodes run the newer version",
	},
	{
		match: matchIs(shards.ErrStopping),
		code:  connect.CodeUnavailable, status: http.StatusServiceUnavailable,
		reason:     flotillav1.Reason_REASON_SHUTTING_DOWN,
		advice:     "nothing was applied, try again",
		retryAfter: 100 * time.Millisecond,
	},
	{
		match: matchIs(shards.ErrDiskFull),
		code:  connect.CodeResourceExhausted, status: http.StatusInsufficientStorage,
		reason:     flotillav1.Reason_REASON_DISK_FULL,
		advice:     "nothing was applied; reads are served, and writes again once the operator has made room",
		retryAfter: 5 * time.Second,
	},
	{
		match: matchAs(func(e *auth.InvalidIssuerError) facts { return facts{metadata: map[string]string{"field": e.Field}} }),
		code:  connect.CodeInvalidArgument, status: http.StatusBadRequest,
		reason: flotillav1.Reason_REASON_INVALID_FIELD,
	},
	{
		match: matchIs(catalog.ErrNoOperator),
		code:  connect.CodeUnauthenticated, status: http.StatusUnauthorized,
		reason: flotillav1.Reason_REASON_UNAUTHENTICATED,
		advice: "send \"Authorization: Bearer <operator's credential>\" with one that has neither expired nor been deleted; the command line takes it from FLOTILLA_OPERATOR_TOKEN",
	},
	{
		match: matchIs(tenancy.ErrUnauthenticated),
		code:  connect.CodeUnauthenticated, status: http.StatusUnauthorized,
		reason: flotillav1.Reason_REASON_UNAUTHENTICATED,
		advice: "send \"Authorization: Bearer <API key or token>\" with one that is neither expired nor revoked",
	},
	{
		match: matchAs(func(*catalog.RoleError) facts { return facts{} }),
		code:  connect.CodePermissionDenied, status: http.StatusForbidden,
		reason: flotillav1.Reason_REASON_PERMISSION_DENIED,
		advice: "use the credential of an operator who may; an owner makes one with `flotilla operator create`",
	},
	{
		match: matchIs(tenancy.ErrPermissionDenied),
		code:  connect.CodePermissionDenied, status: http.StatusForbidden,
		reason: flotillav1.Reason_REASON_PERMISSION_DENIED,
		advice: "use another key, or ask an administrator of the tenant",
	},
	{
		match: matchIs(tenancy.ErrTenantSuspended),
		code:  connect.CodePermissionDenied, status: http.StatusForbidden,
		reason: flotillav1.Reason_REASON_TENANT_SUSPENDED,
		advice: "ask the operator",
	},
	{
		match: matchAs(func(*tenancy.InvalidPermissionError) facts {
			return facts{metadata: map[string]string{"field": "permissions"}}
		}),
		code: connect.CodeInvalidArgument, status: http.StatusBadRequest,
		reason: flotillav1.Reason_REASON_INVALID_FIELD,
	},
	{
		match: matchAs(func(*tenancy.PlanNotFoundError) facts { return facts{} }),
		code:  connect.CodeInvalidArgument, status: http.StatusBadRequest,
		reason: flotillav1.Reason_REASON_PLAN_NOT_FOUND,
	},
	{
		match: matchAs(func(e *tenancy.WrongStateError) facts {
			return facts{metadata: map[string]string{"state": e.State}}
		}),
		code: connect.CodeFailedPrecondition, status: http.StatusConflict,
		reason: flotillav1.Reason_REASON_WRONG_STATE,
		advice: "nothing was changed",
	},
	{
		match: matchIs(catalog.ErrOperatorNotFound),
		code:  connect.CodeNotFound, status: http.StatusNotFound,
		reason: flotillav1.Reason_REASON_OPERATOR_NOT_FOUND,
		advice: "list the operators (AdminService.ListOperators, `flotilla operator list`)",
	},
	{
		match: matchIs(catalog.ErrLastOwner),
		code:  connect.CodeFailedPrecondition, status: http.StatusConflict,
		reason: flotillav1.Reason_REASON_LAST_OWNER,
		advice: "create another owner first",
	},
	{
		match: matchIs(catalog.ErrNodeNotFound),
		code:  connect.CodeNotFound, status: http.StatusNotFound,
		reason: flotillav1.Reason_REASON_NODE_NOT_FOUND,
		advice: "list the nodes (`flotilla node list`)",
	},
	{
		match: matchIs(catalog.ErrNodeRemoved),
		code:  connect.CodeFailedPrecondition, status: http.StatusConflict,
		reason: flotillav1.Reason_REASON_WRONG_STATE,
	},
	{
		match: matchIs(catalog.ErrIssuerNotFound),
		code:  connect.CodeNotFound, status: http.StatusNotFound,
		reason: flotillav1.Reason_REASON_ISSUER_NOT_FOUND,
		advice: "list the issuers (TenantService.ListIssuers)",
	},
	{
		match: matchIs(tenancy.ErrTenantNotFound),
		code:  connect.CodeNotFound, status: http.StatusNotFound,
		reason: flotillav1.Reason_REASON_TENANT_NOT_FOUND,
		advice: "check its name",
	},
	{
		match: matchIs(tenancy.ErrNamespaceNotFound),
		code:  connect.CodeNotFound, status: http.StatusNotFound,
		reason: flotillav1.Reason_REASON_NAMESPACE_NOT_FOUND,
		advice: "check its name, or create it (TenantService.CreateNamespaces, `flotilla namespace create`)",
	},
	{
		match: matchAs(func(e *tenancy.AlreadyExistsError) facts {
			return facts{metadata: map[string]string{"name": e.Name}}
		}),
		code: connect.CodeAlreadyExists, status: http.StatusConflict,
		reason: flotillav1.Reason_REASON_ALREADY_EXISTS,
		advice: "use the one that is there, or take another name",
	},
	{
		match: matchAs(func(e *tenancy.QuotaError) facts {
			f := facts{metadata: map[string]string{"limit": e.Limit, "value": formatUint(e.Value)}, retryAfter: e.RetryAfter}
			if e.Limit == tenancy.LimitFailedLogins {
				f.advice = "look for a program that sends a credential which has ended, give it a good one, and wait"
			}
			return f
		}),
		code: connect.CodeResourceExhausted, status: http.StatusTooManyRequests,
		reason: flotillav1.Reason_REASON_QUOTA_EXCEEDED,
		advice: "use less, or ask the operator for a higher limit",
	},
	{
		match: matchAs(func(e *tenancy.InvalidNameError) facts {
			return facts{metadata: map[string]string{"field": e.What}}
		}),
		code: connect.CodeInvalidArgument, status: http.StatusBadRequest,
		reason: flotillav1.Reason_REASON_INVALID_FIELD,
	},
	{
		match: matchIs(catalog.ErrAPIKeyNotFound),
		code:  connect.CodeNotFound, status: http.StatusNotFound,
		reason: flotillav1.Reason_REASON_API_KEY_NOT_FOUND,
		advice: "list the keys of the tenant (TenantService.ListAPIKeys, `flotilla key list`)",
	},
	{
		match: matchIs(catalog.ErrLastAPIKey),
		code:  connect.CodeFailedPrecondition, status: http.StatusConflict,
		reason: flotillav1.Reason_REASON_LAST_API_KEY,
		advice: "create another key first",
	},
	{
		match: matchIs(context.DeadlineExceeded),
		code:  connect.CodeDeadlineExceeded, status: http.StatusGatewayTimeout,
		reason: flotillav1.Reason_REASON_DEADLINE_EXCEEDED,
		advice: "nothing was applied, try again with more time",
	},
	{
		match: matchIs(context.Canceled),
		code:  connect.CodeCanceled, status: statusClientGone,
		reason: flotillav1.Reason_REASON_CANCELED,
		advice: "nothing was applied",
	},
	// What plain HTTP knows, and RPCs do not.
	{
		match: matchIs(ErrNoSuchPath),
		code:  connect.CodeUnimplemented, status: http.StatusNotFound,
		reason: flotillav1.Reason_REASON_UNIMPLEMENTED,
		advice: "keys are at /v1/kv/{key} and /v1/ns/{namespace}/kv/{key}, lists at /v1/kv and /v1/ns/{namespace}/kv, " +
			"and RPCs at /flotilla.v1.{Service}/{Method}",
	},
	{
		match: matchAs(func(*MethodError) facts { return facts{} }),
		code:  connect.CodeUnimplemented, status: http.StatusMethodNotAllowed,
		reason: flotillav1.Reason_REASON_UNIMPLEMENTED,
	},
	// What the RPC library refuses by itself.
	{
		match: matchCode(connect.CodeInvalidArgument),
		code:  connect.CodeInvalidArgument, status: http.StatusBadRequest,
		reason: flotillav1.Reason_REASON_INVALID_FIELD,
	},
	{
		// It says ResourceExhausted, which means "try again later" here.
		match: matchCode(connect.CodeResourceExhausted),
		code:  connect.CodeInvalidArgument, status: http.StatusRequestEntityTooLarge,
		reason: flotillav1.Reason_REASON_TOO_LARGE,
		advice: "split it; TenantService.GetLimits tells the limits",
	},
	{
		match: matchCode(connect.CodeUnimplemented),
		code:  connect.CodeUnimplemented, status: http.StatusNotImplemented,
		reason: flotillav1.Reason_REASON_UNIMPLEMENTED,
		advice: "check the name of the RPC and the version of the server",
	},
	{
		match: matchCode(connect.CodeDeadlineExceeded),
		code:  connect.CodeDeadlineExceeded, status: http.StatusGatewayTimeout,
		reason: flotillav1.Reason_REASON_DEADLINE_EXCEEDED,
		advice: "nothing was applied, try again with more time",
	},
	{
		match: matchCode(connect.CodeCanceled),
		code:  connect.CodeCanceled, status: statusClientGone,
		reason: flotillav1.Reason_REASON_CANCELED,
		advice: "nothing was applied",
	},
}

const adviceUnknown = "it may or may not have been applied; try again only with the same request id, or read what is there"
