package conformance

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// objects does what the storage layer of Kubernetes' API server does: it
// creates, updates, deletes, lists and watches objects by these requests and no
// others.
type objects struct{ w *world }

func (o objects) create(name, value string) (revision int64, created bool, err error) {
	key := o.w.key(name)
	response, err := o.w.client.Txn(o.w.ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, value)).Commit()
	if err != nil {
		return 0, false, err
	}
	return response.Header.GetRevision(), response.Succeeded, nil
}

// update changes an object by its revision, and tries again with what is there
// when somebody else was faster.
func (o objects) update(name string, change func(value string) string) (attempts int, err error) {
	key := o.w.key(name)
	got, err := o.w.client.Get(o.w.ctx, key)
	if err != nil {
		return 0, err
	}
	kv := got.Kvs[0]
	for attempts = 1; ; attempts++ {
		response, err := o.w.client.Txn(o.w.ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", kv.GetModRevision())).
			Then(clientv3.OpPut(key, change(string(kv.GetValue())))).
			Else(clientv3.OpGet(key)).Commit()
		if err != nil || response.Succeeded {
			return attempts, err
		}
		kv = response.Responses[0].GetResponseRange().GetKvs()[0]
	}
}

// remove deletes an object if it is at the revision, and otherwise returns the
// one that it is at.
func (o objects) remove(name string, revision int64) (deleted bool, found *mvccpb.KeyValue, err error) {
	key := o.w.key(name)
	response, err := o.w.client.Txn(o.w.ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
		Then(clientv3.OpDelete(key)).
		Else(clientv3.OpGet(key)).Commit()
	if err != nil || response.Succeeded {
		return err == nil, nil, err
	}
	if kvs := response.Responses[0].GetResponseRange().GetKvs(); len(kvs) > 0 {
		found = kvs[0]
	}
	return false, found, nil
}

// list reads all objects page by page at the revision of the first page.
func (o objects) list(page int64, between func()) (names []string, remaining []int64, err error) {
	start, end := o.w.key("pods/"), o.w.key("pods0")
	var revision int64
	for {
		opts := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(page)}
		if revision > 0 {
			opts = append(opts, clientv3.WithRev(revision))
		}
		got, err := o.w.client.Get(o.w.ctx, start, opts...)
		if err != nil {
			return names, remaining, err
		}
		if revision == 0 {
			revision = got.Header.GetRevision()
		}
		for _, kv := range got.Kvs {
			names = append(names, strings.TrimPrefix(string(kv.GetKey()), o.w.prefix)+"="+string(kv.GetValue()))
		}
		if !got.More {
			return names, remaining, nil
		}
		remaining = append(remaining, got.Count-int64(len(got.Kvs)))
		start = string(got.Kvs[len(got.Kvs)-1].GetKey()) + "\x00"
		between()
	}
}

// compactor compacts as Kubernetes' does: of several API servers the one that
// moves the key on compacts to the revision that was noted the last time.
func (o objects) compactor(turn, revision int64) (nextTurn, nextRevision int64, err error) {
	key := o.w.key("compact_rev_key")
	response, err := o.w.client.Txn(o.w.ctx).
		If(clientv3.Compare(clientv3.Version(key), "=", turn)).
		Then(clientv3.OpPut(key, strconv.FormatInt(revision, 10))).
		Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		return turn, revision, err
	}
	now := response.Header.GetRevision()
	if !response.Succeeded {
		return response.Responses[0].GetResponseRange().GetKvs()[0].GetVersion(), now, nil
	}
	if revision == 0 { // nothing to compact the first time
		return turn + 1, now, nil
	}
	_, err = o.w.client.Compact(o.w.ctx, revision)
	return turn + 1, now, err
}

func kubernetesCases() []testCase {
	return []testCase{
		{name: "create once", run: func(t *testing.T, w *world) {
			for range 2 {
				revision, created, err := objects{w}.create("pods/a", "1")
				require.NoError(t, err)
				w.note("%s %v", w.revision(revision), created)
			}
		}},
		{name: "guaranteed update", run: func(t *testing.T, w *world) {
			const writers, updates = 8, 20
			o := objects{w}
			_, _, err := o.create("pods/counter", "0")
			require.NoError(t, err)
			var wait sync.WaitGroup
			for range writers {
				wait.Go(func() {
					for range updates {
						_, _ = o.update("pods/counter", func(value string) string {
							n, _ := strconv.Atoi(value)
							return strconv.Itoa(n + 1)
						})
					}
				})
			}
			wait.Wait()
			got, err := w.client.Get(w.ctx, w.key("pods/counter"))
			require.NoError(t, err)
			w.note("%s, version %d", got.Kvs[0].Value, got.Kvs[0].Version)
		}},
		{name: "conditional delete", run: func(t *testing.T, w *world) {
			o := objects{w}
			revision, _, err := o.create("pods/a", "1")
			require.NoError(t, err)
			_, err = o.update("pods/a", func(string) string { return "2" })
			require.NoError(t, err)
			deleted, found, err := o.remove("pods/a", revision)
			require.NoError(t, err)
			w.note("%v, is %s", deleted, found.GetValue())
			deleted, _, err = o.remove("pods/a", found.GetModRevision())
			require.NoError(t, err)
			w.note("%v", deleted)
			deleted, found, err = o.remove("pods/a", found.GetModRevision())
			require.NoError(t, err)
			w.note("%v, is %v", deleted, found)
		}},
		{name: "list in pages", run: func(t *testing.T, w *world) {
			for i := range 25 {
				w.put(t, fmt.Sprintf("pods/%02d=1", i))
			}
			names, remaining, err := objects{w}.list(10, func() { w.put(t, "pods/03=2", "pods/99=1", "pods/12=2") })
			require.NoError(t, err)
			w.note("%v\n%v", names, remaining)
		}},
		{name: "list whose revision is compacted", run: func(t *testing.T, w *world) {
			for i := range 25 {
				w.put(t, fmt.Sprintf("pods/%02d=1", i))
			}
			_, _, err := objects{w}.list(10, func() {
				w.put(t, "pods/99=1")
				now, err := w.client.Get(w.ctx, "nothing")
				require.NoError(t, err)
				_, err = w.client.Compact(w.ctx, now.Header.GetRevision())
				require.NoError(t, err)
			})
			w.note("%s", errorText(err))
		}},
		{name: "watch with bookmarks", run: func(t *testing.T, w *world) {
			w.put(t, "pods/a=1", "pods/a=2")
			ctx := clientv3.WithRequireLeader(w.ctx)
			watch := w.client.Watch(ctx, w.key("pods/"), clientv3.WithPrefix(), clientv3.WithRev(w.base+1), clientv3.WithPrevKV(), clientv3.WithProgressNotify())
			w.noteEvents(t, watching{watch, 2})
			w.put(t, "elsewhere=1")
			now, err := w.client.Get(w.ctx, "nothing")
			require.NoError(t, err)
			// As the cacher does to find out that its watch is current: it asks
			// until it is told of the revision that it read.
			ask := time.NewTicker(50 * time.Millisecond)
			defer ask.Stop()
			for {
				require.NoError(t, w.client.RequestProgress(ctx))
				select {
				case response := <-watch:
					require.NoError(t, response.Err())
					require.True(t, response.IsProgressNotify())
					if response.Header.GetRevision() < now.Header.GetRevision() {
						continue
					}
					w.note("current at %s", w.revision(response.Header.GetRevision()))
					return
				case <-ask.C:
				}
			}
		}},
		{name: "watch that is told by itself", run: func(t *testing.T, w *world) {
			watch := w.client.Watch(clientv3.WithRequireLeader(w.ctx), w.key("pods/"), clientv3.WithPrefix(), clientv3.WithProgressNotify())
			w.put(t, "elsewhere=1")
			for response := range watch {
				require.NoError(t, response.Err())
				if response.IsProgressNotify() && response.Header.GetRevision() > w.base {
					w.note("bookmark at %s", w.revision(response.Header.GetRevision()))
					return
				}
			}
		}},
		{name: "watch and update", run: func(t *testing.T, w *world) {
			o := objects{w}
			ctx, cancel := context.WithCancel(w.ctx)
			defer cancel()
			watch := w.client.Watch(clientv3.WithRequireLeader(ctx), w.key("pods/"), clientv3.WithPrefix(), clientv3.WithRev(w.base+1), clientv3.WithPrevKV())
			_, _, err := o.create("pods/a", "1")
			require.NoError(t, err)
			_, err = o.update("pods/a", func(v string) string { return v + "2" })
			require.NoError(t, err)
			got, err := w.client.Get(w.ctx, w.key("pods/a"))
			require.NoError(t, err)
			_, _, err = o.remove("pods/a", got.Kvs[0].ModRevision)
			require.NoError(t, err)
			w.noteEvents(t, watching{watch, 3})
		}},
		{name: "compactor", run: func(t *testing.T, w *world) {
			o := objects{w}
			var turns, revisions [2]int64
			for round := range 3 {
				w.put(t, fmt.Sprintf("pods/a=%d", round))
				for server := range turns {
					var err error
					turns[server], revisions[server], err = o.compactor(turns[server], revisions[server])
					w.note("round %d, server %d: turn %d, revision %s, %v", round, server, turns[server], w.revision(revisions[server]), err)
				}
			}
			for back := range int64(7) {
				got, err := w.client.Get(w.ctx, w.key("pods/a"), clientv3.WithRev(w.base+6-back))
				if err != nil {
					w.note("%d back: %s", back, errorText(err))
					continue
				}
				w.note("%d back: %s", back, got.Kvs[0].Value)
			}
		}},
	}
}
