package conformance

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/flotillakv/flotilla/tests/process"
)

// TestWatchOverKills kills a node under writers and a watch of clientv3, which
// begins again by itself. It must have seen every revision once and in order,
// whole, with the right versions before it.
func TestWatchOverKills(t *testing.T) {
	t.Parallel()
	const kills, writers, keys = 3, 4, 5
	node, relay := process.Dev(t), newRelay(t)
	relay.lead(node.Info.EtcdURL)
	s := side{name: "flotilla", endpoint: "http://" + relay.listener.Addr().String(), user: "dev/default", password: node.Info.APIKey}
	client := s.connect(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()

	seen := make(chan *clientv3.Event, 1024)
	watch := client.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(2), clientv3.WithPrevKV())
	go func() {
		defer close(seen)
		for response := range watch {
			for _, event := range response.Events {
				seen <- event
			}
		}
	}()

	// The outcome of a write that fails is not known, so writers go on with
	// other values: what counts is what can be read in the end.
	writing, stop := context.WithCancel(ctx)
	defer stop()
	var wait sync.WaitGroup
	for writer := range writers {
		wait.Go(func() {
			for i := 0; writing.Err() == nil; i++ {
				call, end := context.WithTimeout(writing, time.Second)
				a, b := fmt.Sprintf("%d/%d", writer, i%keys), fmt.Sprintf("%d/other", writer)
				switch i % 3 {
				case 0:
					_, _ = client.Put(call, a, strconv.Itoa(i))
				case 1:
					_, _ = client.Txn(call).Then(clientv3.OpPut(a, strconv.Itoa(i)), clientv3.OpPut(b, strconv.Itoa(i))).Commit()
				case 2:
					_, _ = client.Delete(call, b)
				}
				end()
			}
		})
	}
	for range kills {
		before, err := client.Get(ctx, "nothing")
		require.NoError(t, err)
		awaitRevision(ctx, t, client, before.Header.GetRevision()+100)
		node.Kill(t)
		node.Start(t)
		relay.lead(node.Info.EtcdURL)
	}
	now, err := client.Get(ctx, "nothing")
	require.NoError(t, err)
	awaitRevision(ctx, t, client, now.Header.GetRevision()+100)
	stop()
	wait.Wait()
	last, err := client.Put(ctx, "last", "")
	require.NoError(t, err)
	checkEvents(ctx, t, client, seen, last.Header.GetRevision())
}

// checkEvents compares the events up to a revision with what can be read.
func checkEvents(ctx context.Context, t *testing.T, client *clientv3.Client, seen <-chan *clientv3.Event, last int64) {
	t.Helper()
	state := make(map[string]*mvccpb.KeyValue)
	revision := int64(1)
	for revision < last {
		event, ok := <-seen
		require.True(t, ok, "the watch ended at revision %d", revision)
		at := event.Kv.GetModRevision()
		require.Contains(t, []int64{revision, revision + 1}, at, "revisions come one after the other")
		revision = at
		key := string(event.Kv.GetKey())
		before := state[key]
		require.Equal(t, before.GetValue(), event.PrevKv.GetValue(), "%s at %d", key, at)
		require.Equal(t, before.GetModRevision(), event.PrevKv.GetModRevision(), "%s at %d", key, at)
		if event.Type == clientv3.EventTypeDelete {
			require.NotNil(t, before, "%s at %d was deleted before", key, at)
			delete(state, key)
			continue
		}
		require.Equal(t, before.GetVersion()+1, event.Kv.GetVersion(), "%s at %d", key, at)
		state[key] = event.Kv
	}
	all, err := client.Get(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(last))
	require.NoError(t, err)
	require.Len(t, state, len(all.Kvs))
	for _, kv := range all.Kvs {
		require.Equal(t, kv.GetValue(), state[string(kv.GetKey())].GetValue())
		require.Equal(t, kv.GetModRevision(), state[string(kv.GetKey())].GetModRevision())
	}
}

// awaitRevision returns when there is a revision.
func awaitRevision(ctx context.Context, t *testing.T, client *clientv3.Client, revision int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for response := range client.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(revision)) {
		require.NoError(t, response.Err())
		if len(response.Events) > 0 {
			return
		}
	}
	require.FailNow(t, "no such revision", revision)
}
