package etcd_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/flotillakv/flotilla/gateway/etcd"
	"github.com/flotillakv/flotilla/gateway/unread"
	"github.com/flotillakv/flotilla/proto/gen/etcd/v3electionpb"
	"github.com/flotillakv/flotilla/tenancy"
)

// stallMax is how long callers of these tests may leave something unread.
const stallMax = 500 * time.Millisecond

// awaitEnd reads a stream that was not read until it ends.
func awaitEnd[A any](t *testing.T, stream grpc.ServerStreamingClient[A]) error {
	t.Helper()
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}

// TestUnreadSnapshots leaves a snapshot unread. Other tenants' are made all the
// same, and its own again once it was ended.
func TestUnreadSnapshots(t *testing.T) {
	t.Parallel()
	s := serve(t, etcd.Config{StallMax: stallMax})
	conn := dial(t, s.address)
	client := pb.NewMaintenanceClient(conn)
	mine := as(t.Context(), s.newTenant("mine"))
	fill(mine, t, conn, 8, 1<<20)
	unread, err := client.Snapshot(mine, new(pb.SnapshotRequest))
	require.NoError(t, err)
	_, err = unread.Header()
	require.NoError(t, err, "its first part is on its way")

	second, err := client.Snapshot(mine, new(pb.SnapshotRequest))
	require.NoError(t, err)
	_, err = second.Recv()
	require.Equal(t, rpctypes.ErrTooManyRequests, rpctypes.Error(err))

	for _, other := range []tenancy.TenantID{"first", "second", "third"} {
		stream, err := client.Snapshot(as(t.Context(), s.newTenant(other)), new(pb.SnapshotRequest))
		require.NoError(t, err)
		require.ErrorIs(t, awaitEnd(t, stream), io.EOF)
	}
	require.Eventually(t, func() bool {
		again, err := client.Snapshot(mine, new(pb.SnapshotRequest))
		return err == nil && errors.Is(awaitEnd(t, again), io.EOF)
	}, waitMax, 50*time.Millisecond)
	err = awaitEnd(t, unread)
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.ErrorContains(t, err, "the snapshot was not read for 500ms")
}

// TestUnreadRangeStream leaves a streamed range unread.
func TestUnreadRangeStream(t *testing.T) {
	t.Parallel()
	s := serve(t, etcd.Config{StallMax: stallMax})
	conn := dial(t, s.address)
	ctx := as(t.Context(), s.newTenant("tenant"))
	fill(ctx, t, conn, 16, 1<<20)
	all := &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}
	stream, err := pb.NewKVClient(conn).RangeStream(ctx, all)
	require.NoError(t, err)
	s.awaitStall(t, stream, "/etcdserverpb.KV/RangeStream")
	require.ErrorContains(t, awaitEnd(t, stream), "the range was not read for 500ms")
	stream, err = pb.NewKVClient(conn).RangeStream(ctx, all)
	require.NoError(t, err)
	require.ErrorIs(t, awaitEnd(t, stream), io.EOF)
}

// awaitStall waits until the server ended a stream that is not read.
func (s *served) awaitStall(t *testing.T, stream grpc.ClientStream, procedure string) {
	t.Helper()
	_, err := stream.Header()
	require.NoError(t, err, "the first part is on its way")
	require.Eventually(t, func() bool { return s.openStreams(procedure) == 0 }, waitMax, 10*time.Millisecond)
}

// TestUnreadElection observes an election and reads nothing.
func TestUnreadElection(t *testing.T) {
	t.Parallel()
	s := serve(t, etcd.Config{StallMax: stallMax})
	conn := dial(t, s.address)
	ctx := as(t.Context(), s.newTenant("tenant"))
	fill(ctx, t, conn, 1, 1<<20)
	unread, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/v3electionpb.Election/Observe")
	require.NoError(t, err)
	require.NoError(t, unread.SendMsg(&v3electionpb.LeaderRequest{Name: []byte("e")}))
	require.NoError(t, unread.CloseSend())
	for range 4 { // more than its window holds
		_, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte("e/1"), Value: make([]byte, 1<<20)})
		require.NoError(t, err)
	}
	s.awaitStall(t, unread, "/v3electionpb.Election/Observe")
}

// unreadRange asks for all keys and leaves the answer unread, which clients of
// unary calls do not.
func unreadRange(ctx context.Context, t *testing.T, conn *grpc.ClientConn) grpc.ClientStream {
	t.Helper()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/etcdserverpb.KV/Range")
	require.NoError(t, err)
	require.NoError(t, stream.SendMsg(&pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}))
	require.NoError(t, stream.CloseSend())
	_, err = stream.Header()
	require.NoError(t, err, "the answer is on its way")
	return stream
}

// TestUnreadAnswers leaves answers unread until the tenant may have no more.
// They count until they were read, given up, or lost with their connection.
func TestUnreadAnswers(t *testing.T) {
	t.Parallel()
	s := serve(t, etcd.Config{Unread: unread.New(4 * 3 << 20)})
	conn := dial(t, s.address)
	mine, other := as(t.Context(), s.newTenant("mine")), as(t.Context(), s.newTenant("other"))
	fill(mine, t, conn, 2, 1<<20)
	fill(other, t, conn, 2, 1<<20)
	whole := func(ctx context.Context) error {
		_, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")})
		return err
	}
	for name, end := range map[string]func(stream grpc.ClientStream, leaving *grpc.ClientConn, cancel func()){
		"read": func(stream grpc.ClientStream, _ *grpc.ClientConn, _ func()) {
			require.NoError(t, stream.RecvMsg(new(pb.RangeResponse)))
		},
		"given up": func(_ grpc.ClientStream, _ *grpc.ClientConn, cancel func()) { cancel() },
		"lost":     func(_ grpc.ClientStream, leaving *grpc.ClientConn, _ func()) { require.NoError(t, leaving.Close()) },
	} {
		ctx, cancel := context.WithCancel(mine)
		leaving := dial(t, s.address)
		stream := unreadRange(ctx, t, leaving)
		for _, request := range []*pb.RangeRequest{
			{Key: []byte("k"), RangeEnd: []byte("l")},
			{Key: []byte("k"), RangeEnd: []byte("l"), SortTarget: pb.RangeRequest_MOD},
		} {
			_, err := pb.NewKVClient(conn).Range(mine, request)
			require.Equal(t, rpctypes.ErrTooManyRequests, rpctypes.Error(err), name)
		}
		_, err := pb.NewKVClient(conn).Txn(mine, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{
			RequestRange: &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")},
		}}}})
		require.Equal(t, rpctypes.ErrTooManyRequests, rpctypes.Error(err), name)
		require.NoError(t, whole(other), "%s: others have their own", name)
		_, err = pb.NewKVClient(conn).Range(mine, &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), KeysOnly: true})
		require.NoError(t, err, "%s: a small answer does not count", name)

		end(stream, leaving, cancel)
		require.Eventually(t, func() bool {
			runtime.GC() // finds what was lost
			return whole(mine) == nil
		}, waitMax, 10*time.Millisecond, name)
		cancel()
	}
}

// TestSortedRangeKeepsItsLimit sorts more than a tenant may leave unread.
func TestSortedRangeKeepsItsLimit(t *testing.T) {
	t.Parallel()
	s := serve(t, etcd.Config{Unread: unread.New(4 * 12 << 20)})
	conn := dial(t, s.address)
	ctx := as(t.Context(), s.newTenant("tenant"))
	fill(ctx, t, conn, 24, 1<<20)
	for _, order := range []struct {
		order pb.RangeRequest_SortOrder
		first byte
	}{{pb.RangeRequest_ASCEND, 0}, {pb.RangeRequest_DESCEND, 23}} {
		request := &pb.RangeRequest{
			Key: []byte("k"), RangeEnd: []byte("l"), SortTarget: pb.RangeRequest_CREATE, SortOrder: order.order, Limit: 1,
		}
		got, err := pb.NewKVClient(conn).Range(ctx, request)
		require.NoError(t, err)
		require.Len(t, got.GetKvs(), 1)
		require.Equal(t, []byte{'k', order.first}, got.GetKvs()[0].GetKey())
		require.True(t, got.GetMore())
		require.Equal(t, int64(24), got.GetCount())
	}
}
