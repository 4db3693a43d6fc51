package conformance

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// leaseCases are leases and the keys on them. TTLs that run down are compared
// where they cannot have changed yet.
func leaseCases() []testCase {
	rpc := func(w *world) pb.LeaseClient { return pb.NewLeaseClient(w.client.ActiveConnection()) }
	grant := func(t *testing.T, w *world, ttl int64) int64 {
		t.Helper()
		granted, err := w.client.Grant(w.ctx, ttl)
		require.NoError(t, err)
		w.lease(int64(granted.ID))
		return int64(granted.ID)
	}
	granting := func(name string, id, ttl int64) testCase {
		return testCase{name: "grant " + name, run: func(_ *testing.T, w *world) {
			granted, err := rpc(w).LeaseGrant(w.ctx, &pb.LeaseGrantRequest{ID: id, TTL: ttl})
			w.answer("grant", granted, err)
			if err == nil {
				_, err = rpc(w).LeaseRevoke(w.ctx, &pb.LeaseRevokeRequest{ID: granted.GetID()})
				w.note("revoke: %v", err)
			}
		}}
	}
	cases := []testCase{
		granting("", 0, 100),
		granting("with an id", 4711, 60),
		granting("with the greatest id", 1<<63-1, 60),
		granting("for a second", 0, 1),
		granting("for nothing", 0, 0),
		granting("for less than nothing", 0, -5),
		granting("for long", 0, 9_000_000_000),
		granting("for too long", 0, 9_000_000_001),
		{
			name: "grant with a negative id", differs: "the id of a lease is greater than 0",
			run: granting("", -5, 60).run,
		},
		{name: "grant twice", run: func(_ *testing.T, w *world) {
			for range 2 {
				granted, err := rpc(w).LeaseGrant(w.ctx, &pb.LeaseGrantRequest{ID: 99, TTL: 100})
				w.answer("grant", granted, err)
			}
		}},
		{name: "revoke", run: func(t *testing.T, w *world) {
			id := grant(t, w, 100)
			for range 2 {
				revoked, err := rpc(w).LeaseRevoke(w.ctx, &pb.LeaseRevokeRequest{ID: id})
				w.answer("revoke", revoked, err)
			}
		}},
		{name: "revoke no lease", run: func(_ *testing.T, w *world) {
			for _, id := range []int64{0, -1, 12345} {
				revoked, err := rpc(w).LeaseRevoke(w.ctx, &pb.LeaseRevokeRequest{ID: id})
				w.answer("revoke", revoked, err)
			}
		}},
		{name: "revoke deletes the keys in one revision", run: func(t *testing.T, w *world) {
			id := grant(t, w, 100)
			for _, key := range []string{"b", "a", "c"} {
				call(w, "put", w.putRPC, &pb.PutRequest{Key: w.bytes(key), Lease: id})
			}
			events := w.watchFrom(w.base, 3, clientv3.WithPrefix())
			revoked, err := rpc(w).LeaseRevoke(w.ctx, &pb.LeaseRevokeRequest{ID: id})
			w.answer("revoke", revoked, err)
			call(w, "left", w.rangeRPC, &pb.RangeRequest{Key: w.bytes(""), RangeEnd: w.bytes("\xff")})
			w.noteEvents(t, events)
			w.noteEvents(t, w.watchFrom(w.base+3, 3, clientv3.WithPrefix()))
		}},
		{name: "time to live", run: func(t *testing.T, w *world) {
			id := grant(t, w, 1_000_000)
			w.putOn(t, id, "b", "a")
			for _, keys := range []bool{false, true} {
				answer, err := rpc(w).LeaseTimeToLive(w.ctx, &pb.LeaseTimeToLiveRequest{ID: id, Keys: keys})
				require.NoError(t, err)
				require.InDelta(t, 1_000_000, answer.GetTTL(), 2)
				answer.TTL = 0
				slices.SortFunc(answer.Keys, bytes.Compare) // etcd gives them in no order
				w.answer("time to live", answer, err)
			}
		}},
		{name: "time to live of no lease", run: func(_ *testing.T, w *world) {
			for _, id := range []int64{0, -7, 4321} {
				answer, err := rpc(w).LeaseTimeToLive(w.ctx, &pb.LeaseTimeToLiveRequest{ID: id, Keys: true})
				w.answer("time to live", answer, err)
			}
		}},
		{name: "a key moves from lease to lease", run: func(t *testing.T, w *world) {
			first, second := grant(t, w, 100), grant(t, w, 100)
			w.putOn(t, first, "a", "b")
			w.putOn(t, second, "a")
			w.noteKeys(t, first)
			w.noteKeys(t, second)
			_, err := w.client.Revoke(w.ctx, clientv3.LeaseID(first))
			require.NoError(t, err)
			call(w, "left", w.rangeRPC, &pb.RangeRequest{Key: w.bytes(""), RangeEnd: w.bytes("\xff")})
		}},
		{name: "a key leaves its lease", run: func(t *testing.T, w *world) {
			id := grant(t, w, 100)
			w.putOn(t, id, "a", "b", "c")
			w.put(t, "a=1")
			_, err := w.client.Delete(w.ctx, w.key("b"))
			require.NoError(t, err)
			w.noteKeys(t, id)
			_, err = w.client.Revoke(w.ctx, clientv3.LeaseID(id))
			require.NoError(t, err)
			call(w, "left", w.rangeRPC, &pb.RangeRequest{Key: w.bytes(""), RangeEnd: w.bytes("\xff")})
		}},
		{name: "a key keeps its lease", run: func(t *testing.T, w *world) {
			id := grant(t, w, 100)
			w.putOn(t, id, "a")
			call(w, "put", w.putRPC, &pb.PutRequest{Key: w.bytes("a"), Value: []byte("2"), IgnoreLease: true, PrevKv: true})
			call(w, "get", w.rangeRPC, &pb.RangeRequest{Key: w.bytes("a")})
			w.noteKeys(t, id)
		}},
		{name: "a key is attached again after its deletion", run: func(t *testing.T, w *world) {
			id := grant(t, w, 100)
			w.putOn(t, id, "a")
			_, err := w.client.Delete(w.ctx, w.key("a"))
			require.NoError(t, err)
			w.putOn(t, id, "a")
			w.noteKeys(t, id)
			_, err = w.client.Revoke(w.ctx, clientv3.LeaseID(id))
			require.NoError(t, err)
			call(w, "left", w.rangeRPC, &pb.RangeRequest{Key: w.bytes(""), RangeEnd: w.bytes("\xff")})
		}},
		{name: "put on a lease that was revoked", run: func(t *testing.T, w *world) {
			id := grant(t, w, 100)
			_, err := w.client.Revoke(w.ctx, clientv3.LeaseID(id))
			require.NoError(t, err)
			call(w, "put", w.putRPC, &pb.PutRequest{Key: w.bytes("a"), Lease: id})
		}},
		{name: "attach in a transaction", run: func(t *testing.T, w *world) {
			id := grant(t, w, 100)
			call(w, "txn", w.txnRPC, &pb.TxnRequest{
				Compare: []*pb.Compare{{Key: w.bytes("a"), Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_Lease{}}},
				Success: []*pb.RequestOp{putOp(&pb.PutRequest{Key: w.bytes("a"), Lease: id}), rangeOp(&pb.RangeRequest{Key: w.bytes("a")})},
			})
			call(w, "txn", w.txnRPC, &pb.TxnRequest{
				Compare: []*pb.Compare{{Key: w.bytes("a"), Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_Lease{Lease: id}}},
			})
			w.noteKeys(t, id)
		}},
		{name: "list", run: func(t *testing.T, w *world) {
			known, err := w.client.Leases(w.ctx)
			require.NoError(t, err)
			for range 3 {
				grant(t, w, 100)
			}
			listed, err := w.client.Leases(w.ctx)
			require.NoError(t, err)
			w.note("%d more", len(listed.Leases)-len(known.Leases))
		}},
		{name: "keep alive", run: func(t *testing.T, w *world) {
			id := grant(t, w, 100)
			stream, err := rpc(w).LeaseKeepAlive(w.ctx)
			require.NoError(t, err)
			for _, lease := range []int64{id, 555, 0, -5, id} {
				require.NoError(t, stream.Send(&pb.LeaseKeepAliveRequest{ID: lease}))
				answer, err := stream.Recv()
				w.answer("keep alive", answer, err)
			}
			require.NoError(t, stream.CloseSend())
			_, err = stream.Recv()
			w.note("end: %v", err)
		}},
		{name: "keep alive once", run: func(t *testing.T, w *world) {
			id := grant(t, w, 100)
			answer, err := w.client.KeepAliveOnce(w.ctx, clientv3.LeaseID(id))
			require.NoError(t, err)
			w.note("TTL %d", answer.TTL)
			_, err = w.client.KeepAliveOnce(w.ctx, 777)
			w.note("%s", errorText(err))
		}},
		{name: "keep alive holds a lease", run: func(t *testing.T, w *world) {
			id := grant(t, w, 4)
			ctx, cancel := context.WithCancel(w.ctx)
			defer cancel()
			kept, err := w.client.KeepAlive(ctx, clientv3.LeaseID(id))
			require.NoError(t, err)
			for start := time.Now(); time.Since(start) < 6*time.Second; { // longer than its TTL
				answer, ok := <-kept
				require.True(t, ok)
				require.EqualValues(t, 4, answer.TTL)
			}
			w.note("it lives")
		}},
		{name: "expiry deletes the keys", run: func(t *testing.T, w *world) {
			asked := time.Now()
			id := grant(t, w, 4)
			w.putOn(t, id, "b", "a")
			events := w.watchFrom(w.base+2, 2, clientv3.WithPrefix(), clientv3.WithPrevKV())
			w.noteEvents(t, events)
			require.GreaterOrEqual(t, time.Since(asked), 4*time.Second)
			answer, err := rpc(w).LeaseTimeToLive(w.ctx, &pb.LeaseTimeToLiveRequest{ID: id})
			w.answer("time to live", answer, err)
			call(w, "put", w.putRPC, &pb.PutRequest{Key: w.bytes("a"), Lease: id})
		}},
	}
	return cases
}

// putOn writes keys on a lease.
func (w *world) putOn(t *testing.T, lease int64, keys ...string) {
	t.Helper()
	for _, key := range keys {
		_, err := w.client.Put(w.ctx, w.key(key), "on a lease", clientv3.WithLease(clientv3.LeaseID(lease)))
		require.NoError(t, err)
	}
}

// noteKeys notes the keys of a lease. etcd gives them in no order.
func (w *world) noteKeys(t *testing.T, lease int64) {
	t.Helper()
	answer, err := w.client.TimeToLive(w.ctx, clientv3.LeaseID(lease), clientv3.WithAttachedKeys())
	require.NoError(t, err)
	w.note("keys of %s: %q", w.lease(lease), w.sorted(answer.Keys))
}
