package flotilla

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"connectrpc.com/connect"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// Error is an error that the server answered with, or that it could not be
// asked.
type Error struct {
	// Code is the RPC's status code.
	Code connect.Code
	// Reason says precisely why; REASON_UNSPECIFIED if the server was not
	// reached.
	Reason flotillav1.Reason
	// Message says what, why and what to try.
	Message string
	// Metadata are facts about the reason.
	Metadata map[string]string
	// RetryAfter is when to try again at the earliest; 0 if the server did
	// not say.
	RetryAfter time.Duration

	// unknown is whether a mutation may have been applied.
	unknown bool
	cause   error
}

func (e *Error) Error() string { return "flotilla: " + e.Message }

// Unwrap returns what kept the server from being asked, if that is it.
func (e *Error) Unwrap() error { return e.cause }

// Is makes errors.Is work with this package's sentinels.
func (e *Error) Is(target error) bool {
	r, ok := target.(reason)
	return ok && flotillav1.Reason(r) == e.Reason
}

// reason is a sentinel: an error of this reason.
type reason flotillav1.Reason

func (r reason) Error() string { return "flotilla: " + flotillav1.Reason(r).String() }

// The reasons that programs test for, with errors.Is.
const (
	// ErrKeyNotFound says that the key does not exist.
	ErrKeyNotFound = reason(flotillav1.Reason_REASON_KEY_NOT_FOUND)
	// ErrKeyExists says that the key exists, and had not to.
	ErrKeyExists = reason(flotillav1.Reason_REASON_KEY_EXISTS)
	// ErrRevisionMismatch says that the key was changed since it was read.
	ErrRevisionMismatch = reason(flotillav1.Reason_REASON_REVISION_MISMATCH)
	// ErrRevisionInFuture says that the namespace has no such revision yet.
	ErrRevisionInFuture = reason(flotillav1.Reason_REASON_REVISION_IN_FUTURE)
	// ErrNamespaceNotFound says that the tenant has no such namespace.
	ErrNamespaceNotFound = reason(flotillav1.Reason_REASON_NAMESPACE_NOT_FOUND)
	// ErrAlreadyExists says that a namespace of this name exists.
	ErrAlreadyExists = reason(flotillav1.Reason_REASON_ALREADY_EXISTS)
	// ErrLeaseNotFound says that the lease does not exist or has expired.
	ErrLeaseNotFound = reason(flotillav1.Reason_REASON_LEASE_NOT_FOUND)
	// ErrLeaseExists says that a lease of this id exists.
	ErrLeaseExists = reason(flotillav1.Reason_REASON_LEASE_EXISTS)
	// ErrWatchStalled says that the server ended a watch because its events were
	// not taken. Watches of this package go on by themselves.
	ErrWatchStalled = reason(flotillav1.Reason_REASON_STREAM_STALLED)
	// ErrFencingTokenStale says that the lock is no longer held.
	ErrFencingTokenStale = reason(flotillav1.Reason_REASON_FENCING_TOKEN_STALE)
	// ErrUnauthenticated says that the API key is not valid.
	ErrUnauthenticated = reason(flotillav1.Reason_REASON_UNAUTHENTICATED)
	// ErrPermissionDenied says that the API key does not allow this.
	ErrPermissionDenied = reason(flotillav1.Reason_REASON_PERMISSION_DENIED)
	// ErrQuotaExceeded says that a limit of the tenant is reached.
	ErrQuotaExceeded = reason(flotillav1.Reason_REASON_QUOTA_EXCEEDED)
	// ErrTooLarge says that a key, value or request is larger than allowed.
	ErrTooLarge = reason(flotillav1.Reason_REASON_TOO_LARGE)
	// ErrInvalid says that a field is missing, malformed or out of range.
	ErrInvalid = reason(flotillav1.Reason_REASON_INVALID_FIELD)
	// ErrDuplicateKey says that a transaction writes a key twice.
	ErrDuplicateKey = reason(flotillav1.Reason_REASON_DUPLICATE_KEY)
	// ErrAlreadyApplied says that a retried mutation had been applied, but its
	// answer was too large to be kept.
	ErrAlreadyApplied = reason(flotillav1.Reason_REASON_ALREADY_APPLIED)
	// ErrDiskFull says that the server takes no writes for want of space.
	ErrDiskFull = reason(flotillav1.Reason_REASON_DISK_FULL)
)

// ErrClosed says that the client was closed.
var ErrClosed = errors.New("flotilla: the client is closed")

// CompactedError says that a revision was dropped by compaction.
type CompactedError struct {
	// CompactRevision is the oldest that can be read.
	CompactRevision uint64
	err             *Error
}

func (e *CompactedError) Error() string { return e.err.Error() }

// Unwrap returns the *Error.
func (e *CompactedError) Unwrap() error { return e.err }

// OutcomeUnknown tells whether the mutation that failed with err may have been
// applied. It is false for errors that surely left everything as it was.
func OutcomeUnknown(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.unknown
}

// fromProto is an error of one operation.
func fromProto(p *flotillav1.Error) error {
	e := &Error{
		Code: connect.Code(p.GetCode()), Reason: p.GetInfo().GetReason(),
		Message: p.GetMessage(), Metadata: p.GetInfo().GetMetadata(),
		RetryAfter: p.GetInfo().GetRetryAfter().AsDuration(),
	}
	e.unknown = e.Reason == flotillav1.Reason_REASON_OUTCOME_UNKNOWN || e.Reason == flotillav1.Reason_REASON_INTERNAL
	return e.typed()
}

// fromConnect is an error of a whole RPC, or of a whole pipeline: there it comes
// after the answers to all operations that the server began, so what it says of
// the outcome holds for those that were sent and not answered.
func fromConnect(err error) error {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return unreachable(err, true)
	}
	e := &Error{Code: ce.Code(), Message: ce.Message(), cause: err}
	for _, d := range ce.Details() {
		value, err := d.Value()
		if info, ok := value.(*flotillav1.ErrorInfo); ok && err == nil {
			e.Reason, e.Metadata, e.RetryAfter = info.GetReason(), info.GetMetadata(), info.GetRetryAfter().AsDuration()
		}
	}
	if e.Reason == flotillav1.Reason_REASON_UNSPECIFIED {
		// Not an error of the server's table: the connection, a proxy, or a
		// request that could not be decoded.
		if !connect.IsWireError(err) {
			e.Code = codeOfConnection(e.Code)
		}
		e.unknown = e.Code != connect.CodeInvalidArgument && e.Code != connect.CodeUnimplemented &&
			e.Code != connect.CodeResourceExhausted && e.Code != connect.CodeUnauthenticated && !neverConnected(err)
	} else {
		e.unknown = e.Reason == flotillav1.Reason_REASON_OUTCOME_UNKNOWN || e.Reason == flotillav1.Reason_REASON_INTERNAL
	}
	return e.typed()
}

// neverConnected tells whether there was no connection that a request could
// have gone out on.
func neverConnected(err error) bool {
	var e *net.OpError
	return errors.As(err, &e) && e.Op == "dial"
}

// codeOfConnection is the code of an error that came from no server. For an
// answer that was cut off the library blames the caller, or a bug.
func codeOfConnection(code connect.Code) connect.Code {
	switch code {
	case connect.CodeInvalidArgument, connect.CodeInternal, connect.CodeUnknown:
		return connect.CodeUnavailable
	default:
		return code
	}
}

// typed gives the reasons with a type of their own that type.
func (e *Error) typed() error {
	if e.Reason != flotillav1.Reason_REASON_REVISION_COMPACTED {
		return e
	}
	revision, _ := strconv.ParseUint(e.Metadata["compact_revision"], 10, 64)
	return &CompactedError{CompactRevision: revision, err: e}
}

// unreachable says that the server was not reached, or its answer did not come.
func unreachable(cause error, unknown bool) *Error {
	return &Error{
		Code: connect.CodeUnavailable, Message: fmt.Sprintf("the server cannot be reached: %v", cause),
		unknown: unknown, cause: cause,
	}
}

// interrupted says that the call's context or time ended first.
func interrupted(why, err error, unknown bool) *Error {
	code := connect.CodeCanceled
	if errors.Is(err, context.DeadlineExceeded) {
		code = connect.CodeDeadlineExceeded
	}
	return &Error{Code: code, Message: fmt.Sprintf("the call was given up: %v", why), unknown: unknown, cause: err}
}

// tooManyToOrder is the client's own: an answer that is not in key order cannot
// be continued.
func tooManyToOrder() error {
	return &Error{
		Code: connect.CodeInvalidArgument, Reason: flotillav1.Reason_REASON_TOO_LARGE,
		Message: "the range has more keys than one answer holds, and only key order can be continued: set a limit, or order by key",
	}
}

// notFound is the client's own: a read of one key that does not exist.
func notFound(key string) error {
	return &Error{
		Code: connect.CodeNotFound, Reason: flotillav1.Reason_REASON_KEY_NOT_FOUND,
		Message: fmt.Sprintf("the key %q does not exist", key),
	}
}
