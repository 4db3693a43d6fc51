package etcd_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/flotillakv/flotilla/gateway/etcd"
	"github.com/flotillakv/flotilla/tenancy"
)

// restricted is a connection of somebody who may read what begins with "mine/",
// write what begins with "drop/" and nothing else, and a context of the tenant's
// owner.
func restricted(t *testing.T) (c caller, owner context.Context) {
	t.Helper()
	s := serve(t, etcd.Config{Anonymous: &etcd.Anonymous{
		Tenant: "tenant", Namespace: "default",
		Permissions: tenancy.Permissions{
			{Actions: tenancy.ActionRead | tenancy.ActionWatch, Namespace: "default", Prefix: []byte("mine/")},
			{Actions: tenancy.ActionWrite, Namespace: "default", Prefix: []byte("drop/")},
		},
	}})
	conn := dial(t, s.address)
	owner = as(t.Context(), s.newTenant("tenant"))
	for _, key := range []string{"mine/a", "yours/a"} {
		_, err := pb.NewKVClient(conn).Put(owner, &pb.PutRequest{Key: []byte(key), Value: []byte("1")})
		require.NoError(t, err)
	}
	return caller{pb.NewKVClient(conn), pb.NewLeaseClient(conn), pb.NewWatchClient(conn), pb.NewMaintenanceClient(conn)}, owner
}

type caller struct {
	kv          pb.KVClient
	leases      pb.LeaseClient
	watches     pb.WatchClient
	maintenance pb.MaintenanceClient
}

func (c caller) reading(t *testing.T, key, end string) error {
	t.Helper()
	_, err := c.kv.Range(t.Context(), &pb.RangeRequest{Key: []byte(key), RangeEnd: []byte(end)})
	return err
}

func rangeOp(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}}
}

func putOp(put *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}}
}

func deleteOp(key, end string, prev bool) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end), PrevKv: prev},
	}}
}

func nested(txn *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: txn}}
}

// TestRestrictedCallers asks for more than the caller may by every way that the
// port has. What a request does not come to counts too: whether it is refused
// must not tell what is stored.
func TestRestrictedCallers(t *testing.T) {
	t.Parallel()
	c, _ := restricted(t)
	ctx := t.Context()
	txn := func(r *pb.TxnRequest) func() error {
		return func() error { _, err := c.kv.Txn(ctx, r); return err }
	}
	compare := func(key, end string) *pb.TxnRequest {
		return &pb.TxnRequest{Compare: []*pb.Compare{{
			Key: []byte(key), RangeEnd: []byte(end), Target: pb.Compare_VERSION, Result: pb.Compare_GREATER,
			TargetUnion: &pb.Compare_Version{Version: 0},
		}}}
	}
	then := func(op *pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Success: []*pb.RequestOp{op}} }
	otherwise := func(op *pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Failure: []*pb.RequestOp{op}} }
	mine, drop := []byte("mine/a"), []byte("drop/a")
	put := func(r *pb.PutRequest) func() error {
		return func() error { _, err := c.kv.Put(ctx, r); return err }
	}
	remove := func(r *pb.DeleteRangeRequest) func() error {
		return func() error { _, err := c.kv.DeleteRange(ctx, r); return err }
	}
	for _, test := range []struct {
		name    string
		ask     func() error
		allowed bool
	}{
		{"an allowed key", func() error { return c.reading(t, "mine/a", "") }, true},
		{"the allowed prefix", func() error { return c.reading(t, "mine/", "mine0") }, true},
		{"another key", func() error { return c.reading(t, "yours/a", "") }, false},
		{"a wider range", func() error { return c.reading(t, "mine/", "mine1") }, false},
		{"from a key on", func() error { return c.reading(t, "mine/", "\x00") }, false},
		{"a streamed range", func() error {
			stream, err := c.kv.RangeStream(ctx, &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("z")})
			require.NoError(t, err)
			_, err = stream.Recv()
			return err
		}, false},
		{"a put where only reading is allowed", put(&pb.PutRequest{Key: mine}), false},
		{"a put", put(&pb.PutRequest{Key: drop}), true},
		{"a put that answers what was", put(&pb.PutRequest{Key: drop, PrevKv: true}), false},
		{"reading what may be written", func() error { return c.reading(t, "drop/a", "") }, false},
		{"a deletion where only reading is allowed", remove(&pb.DeleteRangeRequest{Key: mine}), false},
		{"a deletion", remove(&pb.DeleteRangeRequest{Key: drop, RangeEnd: []byte("drop0")}), true},
		{"a deletion that goes further", remove(&pb.DeleteRangeRequest{Key: drop, RangeEnd: []byte("drop1")}), false},
		{"a deletion that answers what was", remove(&pb.DeleteRangeRequest{Key: drop, PrevKv: true}), false},
		{"a put in a txn that answers what was", txn(then(putOp(&pb.PutRequest{Key: drop, PrevKv: true}))), false},
		{"a deletion in a txn that answers what was", txn(then(deleteOp("drop/a", "", true))), false},
		{"a put and a deletion in a txn", txn(then(nested(&pb.TxnRequest{
			Success: []*pb.RequestOp{putOp(&pb.PutRequest{Key: drop})}, Failure: []*pb.RequestOp{deleteOp("drop/a", "", false)},
		}))), true},
		{"a compaction", func() error { _, err := c.kv.Compact(ctx, &pb.CompactionRequest{Revision: 2}); return err }, false},
		{"a compare of an allowed key", txn(compare("mine/a", "")), true},
		{"a compare of another key", txn(compare("yours/a", "")), false},
		{"a compare of a wider range", txn(compare("mine/", "z")), false},
		{"a range in a txn", txn(then(rangeOp("mine/", "mine0"))), true},
		{"another range in a txn", txn(then(rangeOp("yours/", "yours0"))), false},
		{"in the branch that is not taken", txn(otherwise(rangeOp("yours/a", ""))), false},
		{"a put in the branch that is not taken", txn(otherwise(putOp(&pb.PutRequest{Key: mine}))), false},
		{"in a nested txn", txn(then(nested(then(rangeOp("mine/a", ""))))), true},
		{"another key in a nested txn", txn(then(nested(then(rangeOp("yours/a", ""))))), false},
		{"a compare in a nested txn", txn(then(nested(compare("yours/a", "")))), false},
		{"a deletion in a nested txn", txn(then(nested(otherwise(deleteOp("mine/a", "", false))))), false},
		{"a lease", func() error { _, err := c.leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 60}); return err }, false},
		{"the keys of a lease", func() error {
			_, err := c.leases.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 1, Keys: true})
			return err
		}, false},
		{"all leases", func() error { _, err := c.leases.LeaseLeases(ctx, new(pb.LeaseLeasesRequest)); return err }, false},
		{"keeping a lease alive", func() error {
			stream, err := c.leases.LeaseKeepAlive(ctx)
			require.NoError(t, err)
			require.NoError(t, stream.Send(&pb.LeaseKeepAliveRequest{ID: 1}))
			_, err = stream.Recv()
			return err
		}, false},
		{"a hash", func() error { _, err := c.maintenance.HashKV(ctx, new(pb.HashKVRequest)); return err }, false},
		{"a snapshot", func() error {
			stream, err := c.maintenance.Snapshot(ctx, new(pb.SnapshotRequest))
			require.NoError(t, err)
			_, err = stream.Recv()
			return err
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.ask()
			if test.allowed {
				require.NoError(t, err)
				return
			}
			require.Equal(t, rpctypes.ErrPermissionDenied, rpctypes.Error(err))
		})
	}
}

// TestRestrictedWatches asks for watches on one stream, which goes on after
// those that are refused.
func TestRestrictedWatches(t *testing.T) {
	t.Parallel()
	c, owner := restricted(t)
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	stream, err := c.watches.Watch(ctx)
	require.NoError(t, err)
	watch := func(key, end string) *pb.WatchResponse {
		require.NoError(t, stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
			CreateRequest: &pb.WatchCreateRequest{Key: []byte(key), RangeEnd: []byte(end), PrevKv: true},
		}}))
		answer, err := stream.Recv()
		require.NoError(t, err)
		require.True(t, answer.GetCreated())
		return answer
	}
	for _, refused := range [][2]string{{"yours/a", ""}, {"mine/", "z"}, {"", "\x00"}} {
		answer := watch(refused[0], refused[1])
		require.True(t, answer.GetCanceled(), refused)
		require.Equal(t, rpctypes.ErrGRPCPermissionDenied.Error(), answer.GetCancelReason())
	}
	require.False(t, watch("mine/", "mine0").GetCanceled())
	for _, key := range []string{"yours/a", "mine/a"} {
		_, err := c.kv.Put(owner, &pb.PutRequest{Key: []byte(key), Value: []byte("2")})
		require.NoError(t, err)
	}
	answer, err := stream.Recv()
	require.NoError(t, err)
	require.Len(t, answer.GetEvents(), 1)
	require.Equal(t, "mine/a", string(answer.GetEvents()[0].GetKv().GetKey()))
	require.Equal(t, "1", string(answer.GetEvents()[0].GetPrevKv().GetValue()))
}
