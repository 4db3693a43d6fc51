package etcd_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/flotillakv/flotilla/gateway/etcd"
	"github.com/flotillakv/flotilla/placement/catalog"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// TestRequestsOverTheRate has requests refused with etcd's own error, and renewals
// of leases wait: clients take a refusal for the end of all their leases.
func TestRequestsOverTheRate(t *testing.T) {
	t.Parallel()
	s := serve(t, etcd.Config{})
	ctx := as(t.Context(), s.newTenant("tenant"))
	_, err := s.catalog.SetTenantLimits(t.Context(), "tenant", catalog.TenantLimits{Own: &flotillav1.Limits{
		RequestsPerSecond: 2, RequestsBurst: 3,
	}})
	require.NoError(t, err)
	conn := dial(t, s.address)
	kv, leases := pb.NewKVClient(conn), pb.NewLeaseClient(conn)
	lease, err := leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 60})
	require.NoError(t, err)
	for range 2 {
		_, err = kv.Put(ctx, &pb.PutRequest{Key: []byte("key"), Value: []byte("value")})
		require.NoError(t, err)
	}
	_, err = kv.Put(ctx, &pb.PutRequest{Key: []byte("key"), Value: []byte("value")})
	require.Equal(t, rpctypes.ErrTooManyRequests, rpctypes.Error(err))

	stream, err := leases.LeaseKeepAlive(ctx)
	require.NoError(t, err)
	begin := time.Now()
	for range 2 {
		require.NoError(t, stream.Send(&pb.LeaseKeepAliveRequest{ID: lease.GetID()}))
		kept, err := stream.Recv()
		require.NoError(t, err)
		require.EqualValues(t, 60, kept.GetTTL())
	}
	require.Greater(t, time.Since(begin), 500*time.Millisecond, "they have waited for their turn")
}

// TestConnectionsOfATenant counts connections of gRPC.
func TestConnectionsOfATenant(t *testing.T) {
	t.Parallel()
	s := serve(t, etcd.Config{})
	ctx := as(t.Context(), s.newTenant("tenant"))
	_, err := s.catalog.SetTenantLimits(t.Context(), "tenant", catalog.TenantLimits{Own: &flotillav1.Limits{ConnectionsMax: 1}})
	require.NoError(t, err)
	first, second := dial(t, s.address), dial(t, s.address)
	put := func(conn *grpc.ClientConn) error {
		_, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte("key")})
		return rpctypes.Error(err)
	}
	require.NoError(t, put(first))
	require.NoError(t, put(first))
	require.Equal(t, rpctypes.ErrTooManyRequests, put(second))
	require.NoError(t, first.Close())
	require.Eventually(t, func() bool { return put(second) == nil }, waitMax, 10*time.Millisecond)
}

// TestCallsTellTheirCost reads the metadata of answers.
func TestCallsTellTheirCost(t *testing.T) {
	t.Parallel()
	s := serve(t, etcd.Config{})
	ctx := as(t.Context(), s.newTenant("tenant"))
	kv := pb.NewKVClient(dial(t, s.address))
	var header metadata.MD
	_, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("key"), Value: make([]byte, 3000)}, grpc.Header(&header))
	require.NoError(t, err)
	require.Equal(t, []string{"3"}, header.Get("Flotilla-Write-Units"))
	require.Equal(t, []string{"0"}, header.Get("Flotilla-Read-Units"))
	_, err = kv.Range(ctx, &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("z")}, grpc.Header(&header))
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, header.Get("Flotilla-Read-Units"))
	var trailer metadata.MD
	_, err = kv.Put(ctx, &pb.PutRequest{Key: []byte("key"), Lease: 7}, grpc.Trailer(&trailer))
	require.Equal(t, rpctypes.ErrLeaseNotFound, rpctypes.Error(err))
	require.Equal(t, []string{"1"}, trailer.Get("Flotilla-Write-Units"))
	require.Equal(t, []string{"0"}, trailer.Get("Flotilla-Read-Units"))
}
