package apierr

import (
	"cmp"
	"errors"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// domain tells flotilla's reasons from those of others.
const domain = "flotilla"

// answer is an error as the API tells it.
type answer struct {
	code    connect.Code
	status  int
	message string
	info    *flotillav1.ErrorInfo
}

// find walks the table. requestID is told only with faults of the platform.
func find(err error, requestID string) answer {
	if t, ok := errors.AsType[*told](err); ok {
		err = t.cause // it was told already: the same again
	}
	for i := range table {
		r := &table[i]
		f, ok := r.match(err)
		if !ok {
			continue
		}
		if f.retryAfter == 0 {
			f.retryAfter = r.retryAfter
		}
		message := f.what
		if advice := cmp.Or(f.advice, r.advice); advice != "" {
			message += ": " + advice
		}
		return answer{
			code: r.code, status: r.status, message: validText(message),
			info: newInfo(r.reason, f.metadata, f.retryAfter),
		}
	}
	message := "the server failed; this is not the request's fault"
	if requestID != "" {
		message += ". When you report it, name request " + requestID
	}
	return answer{
		code: connect.CodeInternal, status: http.StatusInternalServerError, message: message,
		info: newInfo(flotillav1.Reason_REASON_INTERNAL, nil, 0),
	}
}

// validText makes a text fit for a proto message, which takes UTF-8 only: one bad
// byte that a caller sent must not spoil the answers beside it.
func validText(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

func newInfo(reason flotillav1.Reason, metadata map[string]string, retryAfter time.Duration) *flotillav1.ErrorInfo {
	for name, value := range metadata {
		metadata[name] = validText(value)
	}
	info := &flotillav1.ErrorInfo{Reason: reason, Domain: domain, Metadata: metadata}
	if retryAfter > 0 {
		info.RetryAfter = durationpb.New(retryAfter)
	}
	return info
}

// ToConnect returns err as the API tells it, with flotilla.v1.ErrorInfo as a
// detail; when there is a time to wait, also google.rpc.RetryInfo, and the header
// Retry-After (in gRPC a trailer) for proxies and clients that know HTTP alone. The
// id of the request is told with faults of the platform; empty is none. The result
// unwraps to err, for logs.
func ToConnect(err error, requestID string) *connect.Error {
	a := find(err, requestID)
	e := connect.NewError(a.code, &told{message: a.message, cause: err})
	addDetail(e, a.info)
	if after := a.info.GetRetryAfter(); after != nil {
		addDetail(e, &errdetails.RetryInfo{RetryDelay: after})
		e.Meta().Set(retryAfterHeader, wholeSeconds(after.AsDuration()))
	}
	return e
}

func addDetail(e *connect.Error, message proto.Message) {
	// Encoding does not fail, see validText.
	if detail, err := connect.NewErrorDetail(message); err == nil {
		e.AddDetail(detail)
	}
}

// told shows a caller the message and a log the cause.
type told struct {
	message string
	cause   error
}

func (t *told) Error() string { return t.message }
func (t *told) Unwrap() error { return t.cause }

// ToProto returns err as one operation of a batch or pipeline tells it: what
// ToConnect tells, without its cost.
func ToProto(err error, requestID string) *flotillav1.Error {
	a := find(err, requestID)
	return &flotillav1.Error{Code: uint32(a.code), Message: a.message, Info: a.info}
}

// ReasonOf returns why err is an error. REASON_INTERNAL is a fault of the
// platform.
func ReasonOf(err error) flotillav1.Reason { return find(err, "").info.GetReason() }

// IsInternal says whether err is a fault of the platform, which callers are not
// told: whoever answers must log it.
func IsInternal(err error) bool { return ReasonOf(err) == flotillav1.Reason_REASON_INTERNAL }

// HTTPStatus returns the status of plain HTTP. It is finer than the one that
// the RPC code has: 412 for a precondition, 410 for a compacted revision, 413
// for what is too large, 507 for a full disk.
func HTTPStatus(err error) int { return find(err, "").status }
