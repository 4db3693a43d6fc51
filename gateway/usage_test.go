package gateway_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/flotillakv/flotilla/gateway"
	"github.com/flotillakv/flotilla/placement/catalog"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// caller is a tenant of its own.
type caller struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // of the test
	key string
	url string

	kv     flotillav1connect.KVServiceClient
	lease  flotillav1connect.LeaseServiceClient
	watch  flotillav1connect.WatchServiceClient
	tenant flotillav1connect.TenantServiceClient
}

func (s *served) caller(t *testing.T, tenant tenancy.TenantID) *caller {
	t.Helper()
	require.NoError(t, s.catalog.CreateTenant(t.Context(), tenant))
	_, err := s.catalog.CreateNamespaces(t.Context(), tenant, []string{"default"}, tenancy.Limits{}.WithDefaults())
	require.NoError(t, err)
	key, text, err := auth.GenerateAPIKey(rand.Reader)
	require.NoError(t, err)
	hash := key.Hash()
	_, err = s.catalog.CreateAPIKey(t.Context(), catalog.APIKey{ID: key.ID(), Tenant: tenant, SecretHash: hash[:]})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	t.Cleanup(cancel)
	as := connect.WithInterceptors(bearer(text))
	return &caller{
		t: t, ctx: ctx, key: text, url: s.url,
		kv: flotillav1connect.NewKVServiceClient(http2(), s.url, as), lease: flotillav1connect.NewLeaseServiceClient(http2(), s.url, as),
		watch: flotillav1connect.NewWatchServiceClient(http2(), s.url, as), tenant: flotillav1connect.NewTenantServiceClient(http2(), s.url, as),
	}
}

func (c *caller) put(key, value string) {
	c.t.Helper()
	_, err := c.kv.Put(c.ctx, &flotillav1.PutRequest{Key: []byte(key), Value: []byte(value)})
	require.NoError(c.t, err)
}

func (c *caller) grant() int64 {
	c.t.Helper()
	granted, err := c.lease.GrantLease(c.ctx, &flotillav1.GrantLeaseRequest{Ttl: durationpb.New(time.Minute)})
	require.NoError(c.t, err)
	return granted.GetId()
}

// plain makes a request of plain HTTP, and returns the body of its answer.
func (c *caller) plain(method, path, body string) io.Reader {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.ctx, method, c.url+path, strings.NewReader(body))
	require.NoError(c.t, err)
	request.Header.Set("Authorization", "Bearer "+c.key)
	response, err := http.DefaultClient.Do(request)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(c.t, http.StatusOK, response.StatusCode)
	return response.Body
}

func operations() []*flotillav1.Operation {
	return []*flotillav1.Operation{
		{Id: 1, Operation: &flotillav1.Operation_Put{Put: &flotillav1.PutRequest{Key: []byte("a"), Value: []byte("1")}}},
		{Id: 2, Operation: &flotillav1.Operation_Get{Get: &flotillav1.GetRequest{Key: []byte("b")}}},
		{Id: 3, Operation: &flotillav1.Operation_Range{Range: &flotillav1.RangeRequest{}}},
	}
}

// procedures call each procedure of the key space's services once, and say what that
// counts.
func procedures() map[string]struct {
	call func(c *caller) error
	want *flotillav1.Usage
} {
	type procedure = struct {
		call func(c *caller) error
		want *flotillav1.Usage
	}
	key := []byte("key")
	return map[string]procedure{
		"KVService.Get": {func(c *caller) error {
			_, err := c.kv.Get(c.ctx, &flotillav1.GetRequest{Key: key})
			return err
		}, &flotillav1.Usage{Requests: 1, ReadUnits: 1, BytesIn: 3}},
		"KVService.Put": {func(c *caller) error {
			_, err := c.kv.Put(c.ctx, &flotillav1.PutRequest{Key: key, Value: []byte("value")})
			return err
		}, &flotillav1.Usage{Requests: 1, WriteUnits: 1, BytesIn: 8}},
		"KVService.Delete": {func(c *caller) error {
			_, err := c.kv.Delete(c.ctx, &flotillav1.DeleteRequest{Target: &flotillav1.DeleteRequest_Key{Key: key}})
			return err
		}, &flotillav1.Usage{Requests: 1, WriteUnits: 1, BytesIn: 3}},
		"KVService.Range": {func(c *caller) error {
			c.put("a", "1")
			_, err := c.kv.Range(c.ctx, &flotillav1.RangeRequest{})
			return err
		}, &flotillav1.Usage{Requests: 2, WriteUnits: 1, ReadUnits: 1, BytesIn: 2, BytesOut: 2}},
		"KVService.RangeStream": {func(c *caller) error {
			c.put("a", "1")
			stream, err := c.kv.RangeStream(c.ctx, &flotillav1.RangeStreamRequest{Range: &flotillav1.RangeRequest{}})
			if err != nil {
				return err
			}
			for stream.Receive() {
			}
			return stream.Err()
		}, &flotillav1.Usage{Requests: 2, WriteUnits: 1, ReadUnits: 1, BytesIn: 2, BytesOut: 2}},
		"KVService.Txn": {func(c *caller) error {
			_, err := c.kv.Txn(c.ctx, &flotillav1.TxnRequest{Success: []*flotillav1.TxnOperation{
				{Operation: &flotillav1.TxnOperation_Put{Put: &flotillav1.PutRequest{Key: key}}},
				{Operation: &flotillav1.TxnOperation_Get{Get: &flotillav1.GetRequest{Key: key}}},
			}})
			return err
		}, &flotillav1.Usage{Requests: 1, ReadUnits: 1, WriteUnits: 1, BytesIn: 6, BytesOut: 3}},
		"KVService.Compact": {func(c *caller) error {
			c.put("a", "1")
			_, err := c.kv.Compact(c.ctx, &flotillav1.CompactRequest{Revision: 2})
			return err
		}, &flotillav1.Usage{Requests: 2, WriteUnits: 2, BytesIn: 10}},
		"KVService.Batch": {func(c *caller) error {
			_, err := c.kv.Batch(c.ctx, &flotillav1.BatchRequest{Operations: operations()[:2]})
			return err
		}, &flotillav1.Usage{Requests: 2, ReadUnits: 1, WriteUnits: 1, BytesIn: 3}},
		"KVService.Pipeline": {func(c *caller) error {
			stream, err := c.kv.Pipeline(c.ctx)
			if err != nil {
				return err
			}
			for _, op := range operations() {
				if err := stream.Send(&flotillav1.PipelineRequest{Operations: []*flotillav1.Operation{op}}); err != nil {
					return err
				}
				if _, err := stream.Receive(); err != nil {
					return err
				}
			}
			return stream.CloseRequest()
		}, &flotillav1.Usage{Requests: 3, ReadUnits: 2, WriteUnits: 1, BytesIn: 3, BytesOut: 2}},
		"LeaseService.GrantLease": {func(c *caller) error {
			c.grant()
			return nil
		}, &flotillav1.Usage{Requests: 1, WriteUnits: 1, BytesIn: 8}},
		"LeaseService.KeepAlive": {func(c *caller) error {
			_, err := c.lease.KeepAlive(c.ctx, &flotillav1.KeepAliveRequest{Ids: []int64{c.grant(), c.grant()}})
			return err
		}, &flotillav1.Usage{Requests: 3, WriteUnits: 3, BytesIn: 32}},
		"LeaseService.KeepAliveStream": {func(c *caller) error {
			id := c.grant()
			stream, err := c.lease.KeepAliveStream(c.ctx)
			if err != nil {
				return err
			}
			for range 2 {
				request := &flotillav1.KeepAliveStreamRequest{KeepAlive: &flotillav1.KeepAliveRequest{Ids: []int64{id}}}
				if err := stream.Send(request); err != nil {
					return err
				}
				if _, err := stream.Receive(); err != nil {
					return err
				}
			}
			return stream.CloseRequest()
		}, &flotillav1.Usage{Requests: 3, WriteUnits: 3, BytesIn: 24}},
		"LeaseService.RevokeLease": {func(c *caller) error {
			_, err := c.lease.RevokeLease(c.ctx, &flotillav1.RevokeLeaseRequest{Id: c.grant()})
			return err
		}, &flotillav1.Usage{Requests: 2, WriteUnits: 2, BytesIn: 16}},
		"LeaseService.GetLease": {func(c *caller) error {
			_, err := c.lease.GetLease(c.ctx, &flotillav1.GetLeaseRequest{Id: c.grant()})
			return err
		}, &flotillav1.Usage{Requests: 2, WriteUnits: 1, ReadUnits: 1, BytesIn: 16, BytesOut: 8}},
		"LeaseService.ListLeases": {func(c *caller) error {
			c.grant()
			_, err := c.lease.ListLeases(c.ctx, &flotillav1.ListLeasesRequest{})
			return err
		}, &flotillav1.Usage{Requests: 2, WriteUnits: 1, ReadUnits: 1, BytesIn: 16, BytesOut: 8}},
		"WatchService.Watch": {func(c *caller) error {
			c.put("key", "1")
			stream, err := c.watch.Watch(c.ctx)
			if err != nil {
				return err
			}
			for range 2 {
				create := onKey("key")
				create.StartRevision = 2
				if err := stream.Send(&flotillav1.WatchRequest{Request: &flotillav1.WatchRequest_Create{Create: create}}); err != nil {
					return err
				}
			}
			for events := 0; events < 2; {
				answer, err := stream.Receive()
				if err != nil {
					return err
				}
				events += len(answer.GetEvents())
			}
			return stream.CloseRequest()
		}, &flotillav1.Usage{Requests: 3, WriteUnits: 1, ReadUnits: 2, BytesIn: 10, BytesOut: 8}},
		"WatchService.WatchOne": {func(c *caller) error {
			c.put("key", "1")
			create := onKey("key")
			create.StartRevision = 2
			stream, err := c.watch.WatchOne(c.ctx, &flotillav1.WatchOneRequest{Watch: create})
			if err != nil {
				return err
			}
			for stream.Receive() && len(stream.Msg().GetWatch().GetEvents()) == 0 {
			}
			return stream.Err()
		}, &flotillav1.Usage{Requests: 2, WriteUnits: 1, ReadUnits: 1, BytesIn: 7, BytesOut: 4}},
		"plain GET": {func(c *caller) error {
			c.plain(http.MethodPut, "/v1/kv/key", "1")
			c.plain(http.MethodGet, "/v1/kv/key", "")
			return nil
		}, &flotillav1.Usage{Requests: 2, WriteUnits: 1, ReadUnits: 1, BytesIn: 7, BytesOut: 4}},
		"plain DELETE and list": {func(c *caller) error {
			c.plain(http.MethodDelete, "/v1/kv/key", "")
			c.plain(http.MethodGet, "/v1/kv", "")
			return nil
		}, &flotillav1.Usage{Requests: 2, WriteUnits: 1, ReadUnits: 1, BytesIn: 3}},
		"plain watch": {func(c *caller) error {
			c.plain(http.MethodPut, "/v1/kv/key", "1")
			lines := bufio.NewScanner(c.plain(http.MethodGet, "/v1/kv/key?watch=true&start_revision=2", ""))
			for lines.Scan() && !strings.HasPrefix(lines.Text(), "data:") {
			}
			return lines.Err()
		}, &flotillav1.Usage{Requests: 2, WriteUnits: 1, ReadUnits: 1, BytesIn: 7, BytesOut: 4}},
		"what is refused before it is run": {func(c *caller) error {
			_, err := c.kv.Put(c.ctx, &flotillav1.PutRequest{})
			require.Error(c.t, err)
			_, err = c.kv.Get(c.ctx, &flotillav1.GetRequest{Namespace: "none", Key: key})
			require.Error(c.t, err)
			return nil
		}, &flotillav1.Usage{Requests: 2, BytesIn: 3}},
		"TenantService": {func(c *caller) error {
			_, err := c.tenant.GetLimits(c.ctx, &flotillav1.GetLimitsRequest{})
			require.NoError(c.t, err)
			_, err = c.tenant.CreateNamespaces(c.ctx, &flotillav1.CreateNamespacesRequest{Names: []string{"more"}})
			return err
		}, &flotillav1.Usage{}},
	}
}

// TestEveryProcedureIsCounted calls each procedure of the key space for a tenant of
// its own, and asks what the tenant has used.
func TestEveryProcedureIsCounted(t *testing.T) {
	t.Parallel()
	s := serve(t, gateway.Config{})
	list := procedures()
	for _, file := range []protoreflect.FileDescriptor{
		flotillav1.File_flotilla_v1_kv_proto, flotillav1.File_flotilla_v1_lease_proto, flotillav1.File_flotilla_v1_watch_proto,
	} {
		methods := file.Services().Get(0).Methods()
		for i := range methods.Len() {
			require.Contains(t, list, string(methods.Get(i).Parent().Name())+"."+string(methods.Get(i).Name()), "it is not in the list")
		}
	}
	n := 0
	for name, procedure := range list {
		n++
		c := s.caller(t, tenancy.TenantID("tenant-"+string(rune('a'+n))))
		t.Run(name, func(t *testing.T) {
			c.t = t
			require.NoError(t, procedure.call(c))
			var got *flotillav1.Usage
			counted := func() bool {
				response, err := c.tenant.GetUsage(t.Context(), &flotillav1.GetUsageRequest{})
				require.NoError(t, err)
				got = response.GetTotal()
				got.WatchSeconds, got.StoredByteSeconds = 0, 0
				return proto.Equal(got, procedure.want)
			}
			// Streams end a little later, and what was written is written again only
			// after a second.
			for until := time.Now().Add(5 * time.Second); !counted(); <-time.After(200 * time.Millisecond) {
				require.True(t, time.Now().Before(until), "got %v", got)
			}
		})
	}
}

func TestGetUsage(t *testing.T) {
	t.Parallel()
	s := serve(t, gateway.Config{})
	c := s.caller(t, "acme")
	c.put("key", strings.Repeat("v", 997))
	at := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(time.Now().Add(d)) }
	usage, err := c.tenant.GetUsage(t.Context(), &flotillav1.GetUsageRequest{StartTime: at(-30 * 24 * time.Hour), EndTime: at(time.Hour)})
	require.NoError(t, err)
	require.NotEmpty(t, usage.GetHours())
	require.EqualValues(t, 1, usage.GetTotal().GetWriteUnits())
	for _, hour := range usage.GetHours() {
		require.Zero(t, hour.GetStartTime().GetSeconds()%3600)
	}
	past, err := c.tenant.GetUsage(t.Context(), &flotillav1.GetUsageRequest{StartTime: at(-30 * time.Hour), EndTime: at(-3 * time.Hour)})
	require.NoError(t, err)
	require.Empty(t, past.GetHours())

	for name, req := range map[string]*flotillav1.GetUsageRequest{
		"too long":    {StartTime: at(-32 * 24 * time.Hour)},
		"backwards":   {StartTime: at(time.Hour), EndTime: at(0)},
		"before 1970": {EndTime: &timestamppb.Timestamp{Seconds: 1}},
	} {
		_, err := c.tenant.GetUsage(t.Context(), req)
		require.Equal(t, connect.CodeInvalidArgument, connect.CodeOf(err), name)
	}
}
