package apierr_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/flotillakv/flotilla/gateway/apierr"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// wireErrors are errors with every kind of detail.
func wireErrors() map[string]error {
	return map[string]error{
		"metadata":    &mvcc.RevisionMismatchError{Actual: 7},
		"retry after": &shards.BusyError{Queue: "tenant", RetryAfter: 1500 * time.Millisecond},
		"neither":     tenancy.ErrUnauthenticated,
		"not UTF-8":   &mvcc.InvalidError{Field: "\xff", Message: "is not text"},
		"unknown":     errors.New("secret of the storage"),
	}
}

// failing answers Get with the error that the request's key names.
type failing struct {
	flotillav1connect.UnimplementedKVServiceHandler
}

func (failing) Get(_ context.Context, req *flotillav1.GetRequest) (*flotillav1.GetResponse, error) {
	return nil, apierr.ToConnect(wireErrors()[string(req.GetKey())], "req-1")
}

// TestErrorsOverTheWire sends errors through a server and a client, in each of
// the protocols.
func TestErrorsOverTheWire(t *testing.T) {
	t.Parallel()
	client := startServer(t)
	for protocol, options := range map[string][]connect.ClientOption{
		"connect":  nil,
		"json":     {connect.WithProtoJSON()},
		"grpc":     {connect.WithGRPC()},
		"grpc-web": {connect.WithGRPCWeb()},
	} {
		kv := flotillav1connect.NewKVServiceClient(client, "http://memory", options...)
		for name, cause := range wireErrors() {
			t.Run(protocol+"/"+name, func(t *testing.T) {
				t.Parallel()
				_, err := kv.Get(t.Context(), &flotillav1.GetRequest{Key: []byte(name)})
				var got *connect.Error
				require.ErrorAs(t, err, &got)
				want := apierr.ToProto(cause, "req-1")
				require.Equal(t, connect.Code(want.GetCode()), got.Code())
				require.Equal(t, want.GetMessage(), got.Message())

				info, retry := details(t, got)
				require.Equal(t, want.GetInfo().GetReason(), info.GetReason())
				require.Equal(t, "flotilla", info.GetDomain())
				require.Equal(t, want.GetInfo().GetMetadata(), info.GetMetadata())
				require.Equal(t, want.GetInfo().GetRetryAfter().AsDuration(), info.GetRetryAfter().AsDuration())
				require.Equal(t, info.GetRetryAfter().AsDuration(), retry.GetRetryDelay().AsDuration())
				require.Equal(t, info.GetRetryAfter() != nil, retry != nil)
				header := ""
				if retry != nil {
					header = "2" // whole seconds, rounded up
				}
				require.Equal(t, header, got.Meta().Get("Retry-After"))
			})
		}
	}
}

func details(t *testing.T, err *connect.Error) (info *flotillav1.ErrorInfo, retry *errdetails.RetryInfo) {
	t.Helper()
	for _, detail := range err.Details() {
		value, err := detail.Value()
		require.NoError(t, err)
		switch value := value.(type) {
		case *flotillav1.ErrorInfo:
			require.Nil(t, info)
			info = value
		case *errdetails.RetryInfo:
			require.Nil(t, retry)
			retry = value
		default:
			require.Failf(t, "a detail of another type", "%T", value)
		}
	}
	require.NotNil(t, info)
	return info, retry
}

func TestToConnectKeepsTheCauseForTheLog(t *testing.T) {
	t.Parallel()
	cause := errors.New("secret of the storage")
	err := apierr.ToConnect(fmt.Errorf("read: %w", cause), "req-1")
	require.ErrorIs(t, err, cause)
	require.NotContains(t, err.Error(), "secret")
}

func TestWriteHTTP(t *testing.T) {
	t.Parallel()
	type body struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Info    struct {
			Reason     string            `json:"reason"`
			Domain     string            `json:"domain"`
			Metadata   map[string]string `json:"metadata"`
			RetryAfter string            `json:"retryAfter"`
		} `json:"info"`
	}
	write := func(t *testing.T, err error) (*httptest.ResponseRecorder, body) {
		t.Helper()
		recorder := httptest.NewRecorder()
		apierr.WriteHTTP(recorder, err, "req-1")
		require.Equal(t, "application/json", recorder.Header().Get("Content-Type"))
		var decoded body
		require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &decoded))
		require.Equal(t, "flotilla", decoded.Info.Domain)
		return recorder, decoded
	}

	response, decoded := write(t, &mvcc.RevisionMismatchError{Actual: 7})
	require.Equal(t, http.StatusPreconditionFailed, response.Code)
	require.Empty(t, response.Header().Get("Retry-After"))
	require.Equal(t, "REASON_REVISION_MISMATCH", decoded.Info.Reason)
	require.Equal(t, map[string]string{"mod_revision": "7"}, decoded.Info.Metadata)
	require.Equal(t, int(connect.CodeAborted), decoded.Code)

	response, decoded = write(t, &shards.BusyError{RetryAfter: 1500 * time.Millisecond})
	require.Equal(t, http.StatusTooManyRequests, response.Code)
	require.Equal(t, "2", response.Header().Get("Retry-After"))
	require.Equal(t, "1.500s", decoded.Info.RetryAfter)

	response, _ = write(t, &shards.NotLeaderError{Shard: 1})
	require.Equal(t, "1", response.Header().Get("Retry-After"))

	response, _ = write(t, tenancy.ErrUnauthenticated)
	require.Equal(t, `Bearer realm="flotilla"`, response.Header().Get("WWW-Authenticate"))

	response, decoded = write(t, errors.New("secret of the storage"))
	require.Equal(t, http.StatusInternalServerError, response.Code)
	require.Contains(t, decoded.Message, "req-1")
	require.NotContains(t, decoded.Message, "secret")

	_, decoded = write(t, &mvcc.InvalidError{Field: "\xff", Message: "is not text"})
	require.Equal(t, "REASON_INVALID_FIELD", decoded.Info.Reason)
}

// startServer serves the failing service without a port.
func startServer(t *testing.T) *http.Client {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(flotillav1connect.NewKVServiceHandler(failing{}))
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: mux, Protocols: protocols, ReadHeaderTimeout: time.Minute}
	listener := &memoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	transport := &http.Transport{Protocols: protocols, DialContext: listener.dial}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	return &http.Client{Transport: transport}
}

// memoryListener accepts the connections that dial makes in memory.
type memoryListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *memoryListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	server, client := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *memoryListener) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "memory"} }
