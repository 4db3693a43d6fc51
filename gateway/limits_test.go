package gateway_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
)

// infoOf is what an error of the API tells programs.
func infoOf(t *testing.T, err error) *flotillav1.ErrorInfo {
	t.Helper()
	var failed *connect.Error
	require.ErrorAs(t, err, &failed)
	require.Equal(t, connect.CodeResourceExhausted, failed.Code(), "%v", err)
	for _, detail := range failed.Details() {
		message, err := detail.Value()
		require.NoError(t, err)
		if info, ok := message.(*flotillav1.ErrorInfo); ok {
			return info
		}
	}
	require.FailNow(t, "no info")
	return nil
}

// TestRequestsOverTheRate has all doors refuse what comes too fast, and say when to
// come again.
func TestRequestsOverTheRate(t *testing.T) {
	t.Parallel()
	s := serve(t, gateway.Config{})
	s.limit(&flotillav1.Limits{RequestsPerSecond: 1, RequestsBurst: 3})
	kv := s.kv()
	for range 3 {
		_, err := kv.Put(t.Context(), &flotillav1.PutRequest{Key: []byte("key"), Value: []byte("value")})
		require.NoError(t, err)
	}
	_, err := kv.Put(t.Context(), &flotillav1.PutRequest{Key: []byte("key")})
	info := infoOf(t, err)
	require.Equal(t, flotillav1.Reason_REASON_QUOTA_EXCEEDED, info.GetReason())
	require.Equal(t, "requests_per_second", info.GetMetadata()["limit"])
	require.Positive(t, info.GetRetryAfter().AsDuration())
	require.LessOrEqual(t, info.GetRetryAfter().AsDuration(), time.Second)
	var refused *connect.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "1", refused.Meta().Get("Retry-After"))

	batch, err := kv.Batch(t.Context(), &flotillav1.BatchRequest{Operations: []*flotillav1.Operation{{
		Operation: &flotillav1.Operation_Get{Get: &flotillav1.GetRequest{Key: []byte("key")}},
	}}})
	require.NoError(t, err)
	require.Equal(t, flotillav1.Reason_REASON_QUOTA_EXCEEDED, batch.GetResults()[0].GetError().GetInfo().GetReason())

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/kv/key", http.NoBody)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+s.key)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusTooManyRequests, response.StatusCode)
	require.Equal(t, "1", response.Header.Get("Retry-After"))

	w := s.watch(s.key)
	w.create(onKey("key"))
	require.Equal(t, "0: canceled QUOTA_EXCEEDED @0", w.next())
}

// TestConnectionsOfATenant counts connections from their first request until they
// are closed.
func TestConnectionsOfATenant(t *testing.T) {
	t.Parallel()
	s := serve(t, gateway.Config{})
	s.limit(&flotillav1.Limits{ConnectionsMax: 2})
	client := func() (flotillav1connect.KVServiceClient, *http.Client) {
		c := http2()
		return flotillav1connect.NewKVServiceClient(c, s.url, connect.WithInterceptors(bearer(s.key))), c
	}
	get := func(kv flotillav1connect.KVServiceClient) error {
		_, err := kv.Get(t.Context(), &flotillav1.GetRequest{Key: []byte("key")})
		return err
	}
	first, _ := client()
	second, closing := client()
	third, _ := client()
	for range 3 {
		require.NoError(t, get(first))
		require.NoError(t, get(second))
	}
	info := infoOf(t, get(third))
	require.Equal(t, "connections_max", info.GetMetadata()["limit"])
	require.Nil(t, info.GetRetryAfter())
	closing.CloseIdleConnections()
	require.Eventually(t, func() bool { return get(third) == nil }, waitMax, 10*time.Millisecond)
	require.Error(t, get(second), "it has come too late")

	other, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.url+"/v1/kv/key", strings.NewReader("value"))
	require.NoError(t, err)
	other.Header.Set("Authorization", "Bearer "+s.key)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(other)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusTooManyRequests, response.StatusCode, "HTTP/1 has connections too")
}

// TestUnaryCallsTellTheirCost reads the headers of all doors.
func TestUnaryCallsTellTheirCost(t *testing.T) {
	t.Parallel()
	s := serve(t, gateway.Config{})
	large := make([]byte, 5<<10)
	put := func(key string, value []byte) *flotillav1.Operation {
		return &flotillav1.Operation{Operation: &flotillav1.Operation_Put{Put: &flotillav1.PutRequest{Key: []byte(key), Value: value}}}
	}
	get := func(key string) *flotillav1.Operation {
		return &flotillav1.Operation{Operation: &flotillav1.Operation_Get{Get: &flotillav1.GetRequest{Key: []byte(key)}}}
	}
	for _, protocol := range [][]connect.ClientOption{nil, {connect.WithGRPC()}, {connect.WithProtoJSON()}} {
		kv := flotillav1connect.NewKVServiceClient(http2(), s.url, append(protocol, connect.WithInterceptors(bearer(s.key), costs(t, "1", "10")))...)
		_, err := kv.Batch(t.Context(), &flotillav1.BatchRequest{Operations: []*flotillav1.Operation{
			put("large", large), put("small", nil), get("none"), put("five", make([]byte, 2<<10)),
		}})
		require.NoError(t, err)
		kv = flotillav1connect.NewKVServiceClient(http2(), s.url, append(protocol, connect.WithInterceptors(bearer(s.key), costs(t, "2", "0")))...)
		_, err = kv.Get(t.Context(), &flotillav1.GetRequest{Key: []byte("large")})
		require.NoError(t, err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/kv/large", http.NoBody)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+s.key)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, "2", response.Header.Get("Flotilla-Read-Units"))
	require.Equal(t, "0", response.Header.Get("Flotilla-Write-Units"))
}

// costs requires that answers tell a cost.
func costs(t *testing.T, read, write string) connect.Interceptor {
	t.Helper()
	return connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			response, err := next(ctx, req)
			if err == nil {
				require.Equal(t, read, response.Header().Get("Flotilla-Read-Units"))
				require.Equal(t, write, response.Header().Get("Flotilla-Write-Units"))
			}
			return response, err
		}
	})
}

// TestErrorsNameTheCallAndItsCost has a call refused, which costs a unit.
func TestErrorsNameTheCallAndItsCost(t *testing.T) {
	t.Parallel()
	s := serve(t, gateway.Config{})
	for _, protocol := range [][]connect.ClientOption{nil, {connect.WithGRPC()}, {connect.WithGRPCWeb()}, {connect.WithProtoJSON()}} {
		leases := flotillav1connect.NewLeaseServiceClient(http2(), s.url, append(protocol, connect.WithInterceptors(bearer(s.key)))...)
		_, err := leases.RevokeLease(t.Context(), &flotillav1.RevokeLeaseRequest{Id: 7})
		var refused *connect.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, connect.CodeNotFound, refused.Code())
		require.Len(t, refused.Meta().Values("Flotilla-Request-Id"), 1)
		require.Equal(t, []string{"0"}, refused.Meta().Values("Flotilla-Read-Units"))
		require.Equal(t, []string{"1"}, refused.Meta().Values("Flotilla-Write-Units"))

		stranger := flotillav1connect.NewLeaseServiceClient(http2(), s.url, protocol...)
		_, err = stranger.RevokeLease(t.Context(), &flotillav1.RevokeLeaseRequest{Id: 7})
		require.ErrorAs(t, err, &refused)
		require.Equal(t, connect.CodeUnauthenticated, refused.Code())
		require.Len(t, refused.Meta().Values("Flotilla-Request-Id"), 1)
		require.Equal(t, []string{"0"}, refused.Meta().Values("Flotilla-Write-Units"))
	}
}
