package etcd_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/etcd"
	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/proto/gen/etcd/v3electionpb"
	"github.com/flotillakv/flotilla/proto/gen/etcd/v3lockpb"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// TestEveryProcedureIsCounted calls the procedures that are served, each for a tenant
// of its own. A call is one request, whatever it takes to answer it.
func TestEveryProcedureIsCounted(t *testing.T) {
	t.Parallel()
	s := serve(t, etcd.Config{})
	conn := dial(t, s.address)
	kv, leases, watch := pb.NewKVClient(conn), pb.NewLeaseClient(conn), pb.NewWatchClient(conn)
	maintenance := pb.NewMaintenanceClient(conn)
	key := []byte("key")
	put := func(ctx context.Context) error {
		_, err := kv.Put(ctx, &pb.PutRequest{Key: key, Value: []byte("1")})
		return err
	}
	grant := func(ctx context.Context) int64 {
		granted, err := leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 60})
		require.NoError(t, err)
		return granted.GetID()
	}
	campaign := func(ctx context.Context) error {
		request := &v3electionpb.CampaignRequest{Name: key, Value: []byte("me")}
		return conn.Invoke(ctx, "/v3electionpb.Election/Campaign", request, new(v3electionpb.CampaignResponse))
	}
	n := 0
	for name, procedure := range map[string]struct {
		call     func(ctx context.Context) error
		requests uint64
		// units is what is read and written, if it is fixed.
		read, written uint64
	}{
		"Put": {put, 1, 0, 1},
		"Range": {func(ctx context.Context) error {
			_, err := kv.Range(ctx, &pb.RangeRequest{Key: key, RangeEnd: []byte{0}, SortTarget: pb.RangeRequest_VALUE})
			return err
		}, 1, 1, 0},
		"Range of a point": {func(ctx context.Context) error {
			_, err := kv.Range(ctx, &pb.RangeRequest{Key: key})
			return err
		}, 1, 1, 0},
		"RangeStream": {func(ctx context.Context) error {
			stream, err := kv.RangeStream(ctx, &pb.RangeRequest{Key: key, RangeEnd: []byte{0}})
			if err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		}, 1, 1, 0},
		"DeleteRange": {func(ctx context.Context) error {
			_, err := kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: key})
			return err
		}, 1, 0, 1},
		"Txn": {func(ctx context.Context) error {
			_, err := kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{
				{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key}}},
				{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}},
			}})
			return err
		}, 1, 1, 1},
		"Compact": {func(ctx context.Context) error {
			require.NoError(t, put(ctx))
			_, err := kv.Compact(ctx, &pb.CompactionRequest{Revision: 2})
			return err
		}, 2, 0, 2},
		"LeaseGrant and LeaseRevoke": {func(ctx context.Context) error {
			_, err := leases.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: grant(ctx)})
			return err
		}, 2, 0, 2},
		"LeaseTimeToLive": {func(ctx context.Context) error {
			_, err := leases.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: grant(ctx)})
			return err
		}, 2, 1, 1},
		"LeaseTimeToLive of none": {func(ctx context.Context) error {
			_, err := leases.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 7})
			return err
		}, 1, 2, 0},
		"LeaseLeases": {func(ctx context.Context) error {
			_, err := leases.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
			return err
		}, 1, 1, 0},
		"LeaseKeepAlive": {func(ctx context.Context) error {
			ids := []int64{grant(ctx), grant(ctx), grant(ctx)}
			stream, err := leases.LeaseKeepAlive(ctx)
			for _, id := range ids {
				require.NoError(t, stream.Send(&pb.LeaseKeepAliveRequest{ID: id}))
			}
			for range ids {
				_, err := stream.Recv()
				require.NoError(t, err)
			}
			return err
		}, 6, 0, anyUnits}, // as many commands as the renewals came in
		"Watch": {func(ctx context.Context) error {
			require.NoError(t, put(ctx))
			stream, err := watch.Watch(ctx)
			require.NoError(t, err)
			require.NoError(t, stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
				CreateRequest: &pb.WatchCreateRequest{Key: key, StartRevision: 2},
			}}))
			for {
				answer, err := stream.Recv()
				if err != nil || len(answer.GetEvents()) > 0 {
					return err
				}
			}
		}, 2, 1, 1},
		"Status": {func(ctx context.Context) error {
			_, err := maintenance.Status(ctx, &pb.StatusRequest{})
			return err
		}, 1, 1, 0},
		"Alarm": {func(ctx context.Context) error {
			_, err := maintenance.Alarm(ctx, &pb.AlarmRequest{})
			return err
		}, 1, 1, 0},
		"Hash": {func(ctx context.Context) error {
			_, err := maintenance.Hash(ctx, &pb.HashRequest{})
			return err
		}, 1, 2, 0},
		"HashKV": {func(ctx context.Context) error {
			_, err := maintenance.HashKV(ctx, &pb.HashKVRequest{})
			return err
		}, 1, 2, 0},
		"Snapshot": {func(ctx context.Context) error {
			stream, err := maintenance.Snapshot(ctx, &pb.SnapshotRequest{})
			require.NoError(t, err)
			_, err = stream.Recv()
			return err
		}, 1, anyUnits, 0},
		"Lock and Unlock": {func(ctx context.Context) error {
			held := new(v3lockpb.LockResponse)
			require.NoError(t, conn.Invoke(ctx, "/v3lockpb.Lock/Lock", &v3lockpb.LockRequest{Name: key}, held))
			return conn.Invoke(ctx, "/v3lockpb.Lock/Unlock", &v3lockpb.UnlockRequest{Key: held.GetKey()}, new(v3lockpb.UnlockResponse))
		}, 2, anyUnits, 3}, // the lease, the key, and its end
		"Campaign and Leader": {func(ctx context.Context) error {
			require.NoError(t, campaign(ctx))
			return conn.Invoke(ctx, "/v3electionpb.Election/Leader", &v3electionpb.LeaderRequest{Name: key}, new(v3electionpb.LeaderResponse))
		}, 2, anyUnits, 2},
		"Observe": {func(ctx context.Context) error {
			require.NoError(t, campaign(ctx))
			stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/v3electionpb.Election/Observe")
			require.NoError(t, err)
			require.NoError(t, stream.SendMsg(&v3electionpb.LeaderRequest{Name: key}))
			require.NoError(t, stream.CloseSend())
			return stream.RecvMsg(new(v3electionpb.LeaderResponse))
		}, 2, anyUnits, 2},
		"what is not about keys": {func(ctx context.Context) error {
			_, err := pb.NewClusterClient(conn).MemberList(ctx, &pb.MemberListRequest{})
			require.NoError(t, err)
			_, err = maintenance.Defragment(ctx, &pb.DefragmentRequest{})
			return err
		}, 0, 0, 0},
	} {
		n++
		tenant := tenancy.TenantID(fmt.Sprintf("tenant-%d", n))
		ctx, cancel := context.WithTimeout(as(t.Context(), s.newTenant(tenant)), waitMax)
		t.Cleanup(cancel)
		t.Run(name, func(t *testing.T) {
			require.NoError(t, procedure.call(ctx))
			want := &flotillav1.Usage{Requests: procedure.requests, ReadUnits: procedure.read, WriteUnits: procedure.written}
			var got *flotillav1.Usage
			counted := func() bool {
				got = s.usage(tenant)
				for unit, fixed := range map[*uint64]uint64{&got.ReadUnits: procedure.read, &got.WriteUnits: procedure.written} {
					if fixed == anyUnits && *unit > 0 {
						*unit = anyUnits
					}
				}
				return proto.Equal(got, want)
			}
			// Streams end a little later, and what was written is written again only
			// after a second.
			for until := time.Now().Add(5 * time.Second); !counted(); <-time.After(200 * time.Millisecond) {
				require.True(t, time.Now().Before(until), "got %v", got)
			}
		})
	}
}

// anyUnits is a number of units that is not fixed, and not 0.
const anyUnits = 1 << 40

// usage is what a tenant has used, without bytes and time.
func (s *served) usage(tenant tenancy.TenantID) *flotillav1.Usage {
	s.t.Helper()
	require.NoError(s.t, s.meter.Flush(s.t.Context(), tenant))
	hours, err := s.catalog.Usage(s.t.Context(), tenant, 0, 1<<30)
	require.NoError(s.t, err)
	sum := &flotillav1.Usage{}
	for _, hour := range hours {
		catalog.AddUsage(sum, hour.Usage)
	}
	sum.BytesIn, sum.BytesOut, sum.WatchSeconds = 0, 0, 0
	return sum
}
