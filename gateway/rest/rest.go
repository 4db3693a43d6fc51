// Package rest is the plain HTTP surface of the key space: what curl and a
// browser can use without a client library.
//
//	GET    /v1/kv/{key}            the value, as it is; ETag is its mod revision
//	PUT    /v1/kv/{key}            writes the body
//	DELETE /v1/kv/{key}            removes the key
//	GET    /v1/kv?prefix=&limit=   lists keys as JSON
//	GET    ...?watch=true          changes of the key, or the keys, as server-sent events
//
// Another namespace than "default" is reached under /v1/ns/{namespace}/kv.
// If-Match and If-None-Match make a write conditional. A key may contain
// slashes; other bytes that a URL cannot hold are percent-encoded.
package rest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/flotillakv/flotilla/gateway/apierr"
	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/gateway/route"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// timeout is how long a request may take.
const timeout = 10 * time.Second

// listKeysDefault is how many keys a list holds if the request does not say.
const listKeysDefault = 1000

// Handler serves the surface.
type Handler struct {
	kv       *route.KV
	auth     *intercept.Authenticator
	metrics  *intercept.Metrics
	log      *slog.Logger
	open     *route.OpenWatches
	stallMax time.Duration
}

// New makes a Handler. Its watches are noted in open; a caller that takes none of
// their events for stallMax is cut off.
func New(
	kv *route.KV, auth *intercept.Authenticator, metrics *intercept.Metrics, log *slog.Logger,
	open *route.OpenWatches, stallMax time.Duration,
) *Handler {
	return &Handler{kv: kv, auth: auth, metrics: metrics, log: log, open: open, stallMax: stallMax}
}

// Serves tells whether a path belongs to this surface. It is asked before any
// cleaning of the path: "a//b" and "../c" are keys like others.
func Serves(path string) bool {
	return strings.HasPrefix(path, "/v1/kv") || strings.HasPrefix(path, "/v1/ns/")
}

// NotFound answers a request of a path at which there is nothing, whoever sends it.
func NotFound(w http.ResponseWriter, r *http.Request) {
	_, id := intercept.WithRequestID(r.Context())
	w.Header().Set(intercept.RequestIDHeader, id)
	apierr.WriteHTTP(w, apierr.ErrNoSuchPath, id)
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, id := intercept.WithRequestID(r.Context())
	w.Header().Set(intercept.RequestIDHeader, id)
	if watching, err := asksToWatch(r); !watching || err != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
		var call *meter.Call
		ctx, call = meter.WithCall(ctx)
		w = &costWriter{ResponseWriter: w, call: call}
		// A context does not end the reading of a body that trickles in.
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(timeout)); err != nil {
			h.log.Debug("no read deadline", "request_id", id, "err", err)
		}
	}
	begin := time.Now()
	err := h.recovering(w, r.WithContext(ctx))
	reason := "ok"
	if err != nil {
		if !isEnded(err) {
			h.fail(w, r, id, err)
		}
		reason = apierr.ReasonOf(err).String()
	}
	duration := time.Since(begin)
	h.metrics.Observe(procedureOf(r), codeOf(err), duration)
	h.log.Debug("http", "method", r.Method, "reason", reason, "duration", duration, "request_id", id)
}

// procedureOf names a request in metrics, as the interface's RPCs are named.
func procedureOf(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete:
		return r.Method + " /v1/kv"
	default:
		return "other /v1/kv"
	}
}

// codeOf is the outcome in metrics: the code that an RPC would have had.
func codeOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case isEnded(err):
		return connect.CodeCanceled.String()
	default:
		return apierr.ToConnect(err, "").Code().String()
	}
}

// recovering turns a panic into an error: one request cannot end the others.
func (h *Handler) recovering(w http.ResponseWriter, r *http.Request) (err error) {
	defer intercept.Recovered(&err)
	return h.serve(w, r)
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) error {
	principal, err := h.auth.Authenticate(r.Context(), intercept.Caller{
		Authorization: r.Header.Get("Authorization"), Address: r.RemoteAddr, CommonName: intercept.CommonName(r),
	})
	if err != nil {
		return err
	}
	t, err := targetOf(r)
	if err != nil {
		return err
	}
	r = r.WithContext(tenancy.NewContext(r.Context(), principal))
	if err := h.kv.Meter().Enter(meter.ConnectionFrom(r.Context()), principal); err != nil {
		return err
	}
	watching, err := asksToWatch(r)
	switch {
	case err != nil:
		return err
	case watching:
		return h.watch(w, r, t)
	case t.key == nil && r.Method == http.MethodGet:
		return h.list(w, r, t)
	case t.key == nil:
		return &apierr.MethodError{Allow: "GET"}
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		return h.get(w, r, t)
	case r.Method == http.MethodPut:
		return h.put(w, r, t, principal.Limits)
	case r.Method == http.MethodDelete:
		return h.delete(w, r, t)
	default:
		return &apierr.MethodError{Allow: "GET, HEAD, PUT, DELETE"}
	}
}

// target is what a path names.
type target struct {
	namespace string
	key       []byte // nil for the list of keys
}

func targetOf(r *http.Request) (target, error) {
	var t target
	rest := strings.TrimPrefix(r.URL.EscapedPath(), "/v1/")
	if after, ok := strings.CutPrefix(rest, "ns/"); ok {
		t.namespace, rest, _ = strings.Cut(after, "/")
		if t.namespace == "" {
			return target{}, apierr.ErrNoSuchPath
		}
	}
	if rest == "kv" || rest == "kv/" {
		return t, nil
	}
	escaped, ok := strings.CutPrefix(rest, "kv/")
	if !ok {
		return target{}, apierr.ErrNoSuchPath
	}
	key, err := url.PathUnescape(escaped)
	if err != nil {
		return target{}, &mvcc.InvalidError{Field: "key", Message: "is not percent-encoded as a URL path must be"}
	}
	t.key = []byte(key)
	return t, nil
}

func (h *Handler) get(w http.ResponseWriter, r *http.Request, t target) error {
	if err := onlyParams(r, "revision", "serializable", "watch"); err != nil {
		return err
	}
	revision, err := uintParam(r, "revision")
	if err != nil {
		return err
	}
	serializable, err := boolParam(r, "serializable")
	if err != nil {
		return err
	}
	response, err := route.Do[*flotillav1.GetResponse](r.Context(), h.kv, &flotillav1.GetRequest{
		Namespace: t.namespace, Key: t.key, Revision: revision, Serializable: serializable,
	})
	if err != nil {
		return err
	}
	setRevision(w, response.GetRevision())
	kv := response.GetKv()
	if kv == nil {
		return mvcc.ErrKeyNotFound
	}
	w.Header().Set("ETag", etag(kv.GetModRevision()))
	w.Header().Set("Flotilla-Create-Revision", strconv.FormatUint(kv.GetCreateRevision(), 10))
	w.Header().Set("Flotilla-Version", strconv.FormatUint(kv.GetVersion(), 10))
	if matches(r.Header.Get("If-None-Match"), kv.GetModRevision()) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	// A value is whatever a tenant stored; a browser must not run it.
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Length", strconv.Itoa(len(kv.GetValue())))
	if r.Method == http.MethodHead {
		return nil
	}
	_, _ = w.Write(kv.GetValue()) // a caller that went away is not our error
	return nil
}

func (h *Handler) put(w http.ResponseWriter, r *http.Request, t target, limits tenancy.Limits) error {
	if err := onlyParams(r); err != nil {
		return err
	}
	precondition, err := preconditionOf(r)
	if err != nil {
		return err
	}
	value, err := readBody(w, r, limits)
	if err != nil {
		return err
	}
	response, err := route.Do[*flotillav1.PutResponse](r.Context(), h.kv, &flotillav1.PutRequest{
		Namespace: t.namespace, RequestId: r.Header.Get("Idempotency-Key"),
		Key: t.key, Value: value, Precondition: precondition,
	})
	if err != nil {
		return conditional(err, precondition)
	}
	setRevision(w, response.GetRevision())
	w.Header().Set("ETag", etag(response.GetRevision()))
	return writeJSON(w, map[string]string{"revision": strconv.FormatUint(response.GetRevision(), 10)})
}

// readBody reads a value, at most one byte more than may be stored.
func readBody(w http.ResponseWriter, r *http.Request, limits tenancy.Limits) ([]byte, error) {
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limits.ValueBytesMax)))
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		size := max(r.ContentLength, tooLarge.Limit+1)
		return nil, &mvcc.TooLargeError{Limit: "value_bytes_max", Value: uint64(size), Max: uint64(tooLarge.Limit)}
	}
	if err != nil {
		return nil, &mvcc.InvalidError{Field: "body", Message: "could not be read to its end"}
	}
	return value, nil
}

func (h *Handler) delete(w http.ResponseWriter, r *http.Request, t target) error {
	if err := onlyParams(r); err != nil {
		return err
	}
	precondition, err := preconditionOf(r)
	if err != nil {
		return err
	}
	response, err := route.Do[*flotillav1.DeleteResponse](r.Context(), h.kv, &flotillav1.DeleteRequest{
		Namespace: t.namespace, RequestId: r.Header.Get("Idempotency-Key"),
		Target:       &flotillav1.DeleteRequest_Key{Key: t.key},
		Precondition: precondition,
	})
	if err != nil {
		return conditional(err, precondition)
	}
	setRevision(w, response.GetRevision())
	return writeJSON(w, map[string]string{
		"revision": strconv.FormatUint(response.GetRevision(), 10),
		"deleted":  strconv.FormatUint(response.GetDeleted(), 10),
	})
}

// conditionError is a refusal that a conditional header asked for. For HTTP it is
// a failed precondition also when the key is what is missing (RFC 9110, 13.1.1).
type conditionError struct{ error }

// Unwrap returns the refusal.
func (e conditionError) Unwrap() error { return e.error }

func conditional(err error, p *flotillav1.Precondition) error {
	if p.GetMustExist() && errors.Is(err, mvcc.ErrKeyNotFound) {
		return conditionError{err}
	}
	return err
}

func setRevision(w http.ResponseWriter, revision uint64) {
	w.Header().Set("Flotilla-Revision", strconv.FormatUint(revision, 10))
}

func writeJSON(w http.ResponseWriter, body any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(encoded, '\n')) // a caller that went away is not our error
	return nil
}

// fail answers with an error: the same as the API's, as JSON.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, id string, err error) {
	if errors.As(err, new(conditionError)) {
		apierr.WriteHTTPStatus(w, err, id, http.StatusPreconditionFailed)
		return
	}
	if method, ok := errors.AsType[*apierr.MethodError](err); ok {
		w.Header().Set("Allow", method.Allow)
	}
	if apierr.IsInternal(err) {
		h.log.Error("request failed", "procedure", r.Method+" /v1/kv", "request_id", id, "err", err)
	}
	apierr.WriteHTTP(w, err, id)
}
