package conformance

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/ordering"
)

// libraryCases are the packages of etcd's client that make more of its API.
func libraryCases() []testCase {
	return []testCase{
		{name: "Mutex excludes", run: func(t *testing.T, w *world) {
			const holders, turns = 8, 5
			counter := 0 // guarded by the lock
			var wait sync.WaitGroup
			for range holders {
				wait.Go(func() {
					session, err := concurrency.NewSession(w.client, concurrency.WithContext(w.ctx))
					if err != nil {
						return
					}
					defer func() { _ = session.Close() }()
					mutex := concurrency.NewMutex(session, w.key("lock"))
					for range turns {
						if mutex.Lock(w.ctx) != nil {
							return
						}
						held := counter
						_, _ = w.client.Put(w.ctx, w.key("work"), strconv.Itoa(held))
						counter = held + 1
						_ = mutex.Unlock(w.ctx)
					}
				})
			}
			wait.Wait()
			w.note("%d turns", counter)
			left, err := w.client.Get(w.ctx, w.key("lock"), clientv3.WithPrefix())
			require.NoError(t, err)
			w.note("%d keys left", left.Count)
		}},
		{name: "Mutex is tried", run: func(t *testing.T, w *world) {
			first, second := session(t, w), session(t, w)
			held, tried := concurrency.NewMutex(first, w.key("lock")), concurrency.NewMutex(second, w.key("lock"))
			require.NoError(t, held.TryLock(w.ctx))
			w.note("%v", tried.TryLock(w.ctx))
			owned, err := w.client.Txn(w.ctx).If(held.IsOwner()).Commit()
			require.NoError(t, err)
			w.note("owned %v", owned.Succeeded)
			require.NoError(t, held.Unlock(w.ctx))
			w.note("%v", tried.TryLock(w.ctx))
		}},
		{name: "Mutex is lost with its session", run: func(t *testing.T, w *world) {
			first, second := session(t, w), session(t, w)
			require.NoError(t, concurrency.NewMutex(first, w.key("lock")).Lock(w.ctx))
			require.NoError(t, first.Close())
			require.NoError(t, concurrency.NewMutex(second, w.key("lock")).Lock(w.ctx))
			_, open := <-first.Done()
			w.note("open %v", open)
		}},
		{name: "Election", run: func(t *testing.T, w *world) {
			first, second := concurrency.NewElection(session(t, w), w.key("e")), concurrency.NewElection(session(t, w), w.key("e"))
			observed := first.Observe(w.ctx)
			require.NoError(t, first.Campaign(w.ctx, "1"))
			w.note("%s leads", (<-observed).Kvs[0].Value)
			won := make(chan error, 1)
			go func() { won <- second.Campaign(w.ctx, "2") }()
			require.NoError(t, first.Proclaim(w.ctx, "1b"))
			w.note("%s leads", (<-observed).Kvs[0].Value)
			require.NoError(t, first.Resign(w.ctx))
			require.NoError(t, <-won)
			w.note("%s leads", (<-observed).Kvs[0].Value)
			w.note("%v", first.Proclaim(w.ctx, "1c"))
			leader, err := second.Leader(w.ctx)
			require.NoError(t, err)
			w.note("%s leads", leader.Kvs[0].Value)
		}},
		{name: "Barrier of keys", run: func(t *testing.T, w *world) {
			w.put(t, "barrier=1")
			ctx, cancel := context.WithCancel(w.ctx)
			defer cancel()
			watch := w.client.Watch(ctx, w.key("barrier"), clientv3.WithFilterPut(), clientv3.WithRev(w.base+2))
			_, err := w.client.Delete(w.ctx, w.key("barrier"))
			require.NoError(t, err)
			response := <-watch
			w.note("%d events", len(response.Events))
		}},
		{name: "STM", run: func(t *testing.T, w *world) {
			const accounts, movers, moves = 5, 4, 20
			for i := range accounts {
				w.put(t, fmt.Sprintf("%d=100", i))
			}
			for _, isolation := range []concurrency.Isolation{concurrency.SerializableSnapshot, concurrency.Serializable, concurrency.RepeatableReads} {
				var wait sync.WaitGroup
				for mover := range movers {
					wait.Go(func() {
						for move := range moves {
							from, to := w.key(strconv.Itoa((mover+move)%accounts)), w.key(strconv.Itoa((mover*move+1)%accounts))
							_, _ = concurrency.NewSTM(w.client, func(stm concurrency.STM) error {
								if from == to {
									return nil
								}
								a, _ := strconv.Atoi(stm.Get(from))
								b, _ := strconv.Atoi(stm.Get(to))
								stm.Put(from, strconv.Itoa(a-1))
								stm.Put(to, strconv.Itoa(b+1))
								return nil
							}, concurrency.WithIsolation(isolation))
						}
					})
				}
				wait.Wait()
				sum := 0
				all, err := w.client.Get(w.ctx, w.prefix, clientv3.WithPrefix())
				require.NoError(t, err)
				for _, kv := range all.Kvs {
					n, err := strconv.Atoi(string(kv.Value))
					require.NoError(t, err)
					sum += n
				}
				w.note("isolation %d: %d", isolation, sum)
			}
		}},
		{name: "STM that is given up", run: func(_ *testing.T, w *world) {
			_, err := concurrency.NewSTM(w.client, func(stm concurrency.STM) error {
				stm.Put(w.key("a"), "1")
				return errors.New("no")
			})
			w.note("%v", err)
			left, err := w.client.Get(w.ctx, w.key("a"))
			w.answer("left", (*pb.RangeResponse)(left), err)
		}},
		{name: "namespace", run: func(t *testing.T, w *world) {
			kv := namespace.NewKV(w.client.KV, w.key("inside/"))
			watcher := namespace.NewWatcher(w.client.Watcher, w.key("inside/"))
			events := watcher.Watch(w.ctx, "", clientv3.WithPrefix())
			_, err := kv.Put(w.ctx, "a", "1")
			require.NoError(t, err)
			w.put(t, "outside=1")
			got, err := kv.Get(w.ctx, "", clientv3.WithFromKey())
			w.answer("from a key", (*pb.RangeResponse)(got), err)
			outside, err := w.client.Get(w.ctx, w.key(""), clientv3.WithPrefix())
			w.answer("outside", (*pb.RangeResponse)(outside), err)
			w.note("%s", (<-events).Events[0].Kv.GetKey())
			deleted, err := kv.Delete(w.ctx, "", clientv3.WithPrefix(), clientv3.WithPrevKV())
			require.NoError(t, err)
			w.note("%d deleted, %s", deleted.Deleted, deleted.PrevKvs[0].GetKey())
		}},
		{name: "ordering", run: func(t *testing.T, w *world) {
			kv := ordering.NewKV(w.client.KV, ordering.NewOrderViolationSwitchEndpointClosure(w.client))
			w.put(t, "a=1")
			for _, serializable := range []bool{false, true} {
				var opts []clientv3.OpOption
				if serializable {
					opts = append(opts, clientv3.WithSerializable())
				}
				got, err := kv.Get(w.ctx, w.key("a"), opts...)
				w.answer("get", (*pb.RangeResponse)(got), err)
			}
		}},
		{name: "leasing", run: func(t *testing.T, w *world) {
			kv, closeKV, err := leasing.NewKV(w.client, w.key("leasing/"))
			require.NoError(t, err)
			defer closeKV()
			w.put(t, "a=1")
			for range 2 {
				got, err := kv.Get(w.ctx, w.key("a"))
				require.NoError(t, err)
				w.note("%s", got.Kvs[0].Value)
			}
			_, err = kv.Put(w.ctx, w.key("a"), "2")
			require.NoError(t, err)
			got, err := kv.Get(w.ctx, w.key("a"))
			require.NoError(t, err)
			w.note("%s", got.Kvs[0].Value)
			other, closeOther, err := leasing.NewKV(w.client, w.key("leasing/"))
			require.NoError(t, err)
			defer closeOther()
			_, err = other.Put(w.ctx, w.key("a"), "3") // has the first give its lease up
			require.NoError(t, err)
			got, err = kv.Get(w.ctx, w.key("a"))
			require.NoError(t, err)
			w.note("%s", got.Kvs[0].Value)
			done, err := kv.Txn(w.ctx).If(clientv3.Compare(clientv3.Value(w.key("a")), "=", "3")).Then(clientv3.OpDelete(w.key("a"))).Commit()
			require.NoError(t, err)
			w.note("%v", done.Succeeded)
		}},
		{name: "mirror", run: func(t *testing.T, w *world) {
			for i := range 30 {
				w.put(t, fmt.Sprintf("%02d=%d", i, i))
			}
			syncer := mirror.NewSyncer(w.client, w.prefix, 0)
			keys, failed := syncer.SyncBase(w.ctx)
			for response := range keys {
				for _, kv := range response.Kvs {
					w.note("%s", kv.GetValue())
				}
			}
			require.NoError(t, <-failed)
			updates := syncer.SyncUpdates(w.ctx)
			w.put(t, "00=changed")
			w.note("%s", (<-updates).Events[0].Kv.GetValue())
		}},
		{name: "naming", run: func(t *testing.T, w *world) {
			manager, err := endpoints.NewManager(w.client, w.key("service"))
			require.NoError(t, err)
			updates, err := manager.NewWatchChannel(w.ctx)
			require.NoError(t, err)
			for i := range 3 {
				require.NoError(t, manager.AddEndpoint(w.ctx, w.key(fmt.Sprintf("service/%d", i)), endpoints.Endpoint{Addr: fmt.Sprintf("127.0.0.1:%d", i)}))
			}
			require.NoError(t, manager.DeleteEndpoint(w.ctx, w.key("service/1")))
			list, err := manager.List(w.ctx)
			require.NoError(t, err)
			w.note("%d endpoints", len(list))
			for seen := 0; seen < 4; {
				for _, update := range <-updates {
					w.note("%d %s %s", update.Op, strings.TrimPrefix(update.Key, w.prefix), update.Endpoint.Addr)
					seen++
				}
			}
		}},
	}
}

// session is a session that ends with the test.
func session(t *testing.T, w *world) *concurrency.Session {
	t.Helper()
	s, err := concurrency.NewSession(w.client, concurrency.WithContext(w.ctx), concurrency.WithTTL(20))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}
