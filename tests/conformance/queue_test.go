package conformance

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
)

// serviceCases are the services of locks and elections, which servers offer to
// clients without etcd's own library.
func serviceCases() []testCase {
	locks := func(w *world) v3lockpb.LockClient { return v3lockpb.NewLockClient(w.client.ActiveConnection()) }
	elections := func(w *world) v3electionpb.ElectionClient {
		return v3electionpb.NewElectionClient(w.client.ActiveConnection())
	}
	// grant gives a lease that both sides call the same, because it is part of
	// the keys.
	grant := func(t *testing.T, w *world, id int64) int64 {
		t.Helper()
		_, err := pb.NewLeaseClient(w.client.ActiveConnection()).LeaseGrant(w.ctx, &pb.LeaseGrantRequest{ID: id, TTL: 100})
		require.NoError(t, err)
		return id
	}
	return []testCase{
		{name: "lock and unlock", run: func(t *testing.T, w *world) {
			lease := grant(t, w, 0x101)
			for range 2 { // twice on one lease is once
				held := call(w, "lock", noOptions(locks(w).Lock), &v3lockpb.LockRequest{Name: w.bytes("l"), Lease: lease})
				call(w, "held", w.rangeRPC, &pb.RangeRequest{Key: held.GetKey()})
			}
			call(w, "unlock", noOptions(locks(w).Unlock), &v3lockpb.UnlockRequest{Key: w.bytes("l/101")})
			call(w, "unlock again", noOptions(locks(w).Unlock), &v3lockpb.UnlockRequest{Key: w.bytes("l/101")})
		}},
		{name: "lock on no such lease", run: func(_ *testing.T, w *world) {
			call(w, "lock", noOptions(locks(w).Lock), &v3lockpb.LockRequest{Name: w.bytes("l"), Lease: 0x999})
		}},
		{name: "unlock nothing", run: func(_ *testing.T, w *world) {
			call(w, "unlock", noOptions(locks(w).Unlock), &v3lockpb.UnlockRequest{})
		}},
		{name: "lock without a lease", run: func(t *testing.T, w *world) {
			held, err := locks(w).Lock(w.ctx, &v3lockpb.LockRequest{Name: w.bytes("l")})
			require.NoError(t, err)
			kv, err := w.client.Get(w.ctx, string(held.GetKey()))
			require.NoError(t, err)
			answer, err := w.client.TimeToLive(w.ctx, clientv3.LeaseID(kv.Kvs[0].Lease))
			require.NoError(t, err)
			w.note("granted for %d s", answer.GrantedTTL)
		}},
		{name: "a lock is waited for", run: func(t *testing.T, w *world) {
			first, second := grant(t, w, 0x201), grant(t, w, 0x202)
			held, err := locks(w).Lock(w.ctx, &v3lockpb.LockRequest{Name: w.bytes("l"), Lease: first})
			require.NoError(t, err)
			waited := make(chan *v3lockpb.LockResponse, 1)
			go func() {
				response, _ := locks(w).Lock(w.ctx, &v3lockpb.LockRequest{Name: w.bytes("l"), Lease: second})
				waited <- response
			}()
			w.awaitKey(t, w.key("l/202"))
			_, err = locks(w).Unlock(w.ctx, &v3lockpb.UnlockRequest{Key: held.GetKey()})
			require.NoError(t, err)
			w.answer("waited", <-waited, nil)
		}},
		{name: "a lock passes when the lease ends", run: func(t *testing.T, w *world) {
			first, second := grant(t, w, 0x301), grant(t, w, 0x302)
			_, err := locks(w).Lock(w.ctx, &v3lockpb.LockRequest{Name: w.bytes("l"), Lease: first})
			require.NoError(t, err)
			waited := make(chan *v3lockpb.LockResponse, 1)
			go func() {
				response, _ := locks(w).Lock(w.ctx, &v3lockpb.LockRequest{Name: w.bytes("l"), Lease: second})
				waited <- response
			}()
			w.awaitKey(t, w.key("l/302"))
			_, err = w.client.Revoke(w.ctx, clientv3.LeaseID(first))
			require.NoError(t, err)
			w.answer("waited", <-waited, nil)
		}},
		{name: "a waiter that leaves gives its place up", run: func(t *testing.T, w *world) {
			first, second := grant(t, w, 0x401), grant(t, w, 0x402)
			_, err := locks(w).Lock(w.ctx, &v3lockpb.LockRequest{Name: w.bytes("l"), Lease: first})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(w.ctx)
			failed := make(chan error, 1)
			go func() {
				_, err := locks(w).Lock(ctx, &v3lockpb.LockRequest{Name: w.bytes("l"), Lease: second})
				failed <- err
			}()
			w.awaitKey(t, w.key("l/402"))
			cancel()
			w.note("%s", errorText(<-failed))
			w.awaitDeleted(t, w.key("l/402"))
			call(w, "left", w.rangeRPC, &pb.RangeRequest{Key: w.bytes("l/"), RangeEnd: w.bytes("l0"), KeysOnly: true})
		}},
		{name: "a lease that ends while it waits for a lock", run: func(t *testing.T, w *world) {
			first, second := grant(t, w, 0x501), grant(t, w, 0x502)
			held, err := locks(w).Lock(w.ctx, &v3lockpb.LockRequest{Name: w.bytes("l"), Lease: first})
			require.NoError(t, err)
			failed := make(chan error, 1)
			go func() {
				_, err := locks(w).Lock(w.ctx, &v3lockpb.LockRequest{Name: w.bytes("l"), Lease: second})
				failed <- err
			}()
			w.awaitKey(t, w.key("l/502"))
			_, err = w.client.Revoke(w.ctx, clientv3.LeaseID(second))
			require.NoError(t, err)
			_, err = locks(w).Unlock(w.ctx, &v3lockpb.UnlockRequest{Key: held.GetKey()})
			require.NoError(t, err)
			w.note("%s", errorText(<-failed))
		}},
		{name: "campaign, proclaim, resign", run: func(t *testing.T, w *world) {
			lease := grant(t, w, 0x601)
			name := w.bytes("e")
			call(w, "leader", noOptions(elections(w).Leader), &v3electionpb.LeaderRequest{Name: name})
			won := call(w, "campaign", noOptions(elections(w).Campaign), &v3electionpb.CampaignRequest{Name: name, Lease: lease, Value: []byte("1")})
			call(w, "leader", noOptions(elections(w).Leader), &v3electionpb.LeaderRequest{Name: name})
			call(w, "proclaim", noOptions(elections(w).Proclaim), &v3electionpb.ProclaimRequest{Leader: won.GetLeader(), Value: []byte("2")})
			call(w, "leader", noOptions(elections(w).Leader), &v3electionpb.LeaderRequest{Name: name})
			call(w, "campaign again", noOptions(elections(w).Campaign), &v3electionpb.CampaignRequest{Name: name, Lease: lease, Value: []byte("3")})
			call(w, "leader", noOptions(elections(w).Leader), &v3electionpb.LeaderRequest{Name: name})
			for range 2 {
				call(w, "resign", noOptions(elections(w).Resign), &v3electionpb.ResignRequest{Leader: won.GetLeader()})
			}
			call(w, "proclaim too late", noOptions(elections(w).Proclaim), &v3electionpb.ProclaimRequest{Leader: won.GetLeader(), Value: []byte("4")})
			call(w, "proclaim for nobody", noOptions(elections(w).Proclaim), &v3electionpb.ProclaimRequest{})
			call(w, "resign for nobody", noOptions(elections(w).Resign), &v3electionpb.ResignRequest{})
			call(w, "campaign on no lease", noOptions(elections(w).Campaign), &v3electionpb.CampaignRequest{Name: name, Lease: 0x888})
		}},
		{name: "observe", run: func(t *testing.T, w *world) {
			name := w.bytes("e")
			ctx, cancel := context.WithCancel(w.ctx)
			defer cancel()
			stream, err := elections(w).Observe(ctx, &v3electionpb.LeaderRequest{Name: name})
			require.NoError(t, err)
			observed := func() {
				response, err := stream.Recv()
				w.answer("observed", response, err)
			}
			won, err := elections(w).Campaign(w.ctx, &v3electionpb.CampaignRequest{Name: name, Lease: grant(t, w, 0x701), Value: []byte("1")})
			require.NoError(t, err)
			observed()
			_, err = elections(w).Proclaim(w.ctx, &v3electionpb.ProclaimRequest{Leader: won.GetLeader(), Value: []byte("2")})
			require.NoError(t, err)
			observed()
			second := grant(t, w, 0x702)
			followed := make(chan error, 1)
			go func() {
				_, err := elections(w).Campaign(w.ctx, &v3electionpb.CampaignRequest{Name: name, Lease: second, Value: []byte("3")})
				followed <- err
			}()
			w.awaitKey(t, w.key("e/702"))
			_, err = elections(w).Resign(w.ctx, &v3electionpb.ResignRequest{Leader: won.GetLeader()})
			require.NoError(t, err)
			require.NoError(t, <-followed)
			observed()
			cancel()
			_, err = stream.Recv()
			w.note("%s", errorText(err))
		}},
	}
}

// noOptions is an RPC of a generated client without its options.
func noOptions[Q, A, O any](rpc func(context.Context, Q, ...O) (A, error)) func(context.Context, Q) (A, error) {
	return func(ctx context.Context, request Q) (A, error) { return rpc(ctx, request) }
}

// awaitKey returns when a key exists.
func (w *world) awaitKey(t *testing.T, key string) {
	t.Helper()
	w.await(t, key, clientv3.EventTypePut, func(count int64) bool { return count == 1 })
}

// awaitDeleted returns when a key exists no more.
func (w *world) awaitDeleted(t *testing.T, key string) {
	t.Helper()
	w.await(t, key, clientv3.EventTypeDelete, func(count int64) bool { return count == 0 })
}

func (w *world) await(t *testing.T, key string, event mvccpb.Event_EventType, is func(count int64) bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	now, err := w.client.Get(ctx, key, clientv3.WithCountOnly())
	require.NoError(t, err)
	if is(now.Count) {
		return
	}
	for response := range w.client.Watch(ctx, key, clientv3.WithRev(now.Header.GetRevision()+1)) {
		require.NoError(t, response.Err())
		for _, e := range response.Events {
			if e.Type == event {
				return
			}
		}
	}
	require.FailNow(t, "the key did not change", key)
}
