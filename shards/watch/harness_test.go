package watch_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/mvcc/mvcctest"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

const testNamespace tenancy.NamespaceID = 7

// shard is a replica of one namespace in memory: what is written goes through a
// recorder to a hub, and can be read back.
type shard struct {
	t        require.TestingT
	hub      *watch.Hub
	accounts *watch.Accounts
	recorder *watch.Recorder
	hooks    *mvcctest.Hooks

	mu    sync.Mutex // held while a batch is applied, and while it is read
	store *mvcctest.Store
	state mvcc.State
	fail  error // of reads
	reads int
	// afterRead is called once after the next read, without the lock.
	afterRead func()
}

func newShard(t require.TestingT, cfg watch.Config) *shard {
	s := &shard{t: t, accounts: &watch.Accounts{}, store: mvcctest.NewStore(), state: mvcc.NewState(), hooks: mvcctest.NewHooks()}
	s.hub = watch.NewHub(cfg, s.accounts, watch.NewMetrics(prometheus.NewRegistry(), s.accounts), s.read)
	s.recorder = watch.NewRecorder(s.hub)
	return s
}

func (s *shard) read(ns tenancy.NamespaceID, read func(mvcc.Reader, mvcc.State) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if hook := s.afterRead; hook != nil {
		s.afterRead = nil
		defer func() {
			s.mu.Unlock()
			hook()
			s.mu.Lock()
		}()
	}
	if s.fail != nil {
		return s.fail
	}
	if ns != testNamespace {
		return read(mvcctest.NewStore(), mvcc.NewState())
	}
	return read(s.store, s.state)
}

// batch is a machine's batch that writes to the store at once.
type batch struct {
	machine.Batch // its rows are not used
	s             *shard
}

func (b *batch) Namespace(tenancy.NamespaceID) mvcc.Writer { return b.s.store }

// apply runs commands in one batch, and publishes what they changed. It returns
// the revision after it.
func (s *shard) apply(commands ...func(w mvcc.Writer, st *mvcc.State) error) mvcc.Revision {
	before, after := s.begin(commands...)
	if after != before {
		s.recorder.Publish([]machine.Change{{Namespace: testNamespace, Revision: after}})
	} else {
		s.recorder.Publish(nil)
	}
	return after
}

func (s *shard) begin(commands ...func(w mvcc.Writer, st *mvcc.State) error) (before, after mvcc.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before = s.state.Revision
	b := s.recorder.Begin(&batch{s: s})
	for _, command := range commands {
		require.NoError(s.t, command(b.Namespace(testNamespace), &s.state))
	}
	return before, s.state.Revision
}

func (s *shard) put(key, value string) mvcc.Revision { return s.apply(s.putting(key, value)) }

func (s *shard) putting(key, value string) func(mvcc.Writer, *mvcc.State) error {
	return func(w mvcc.Writer, st *mvcc.State) error {
		_, err := mvcc.Put(w, st, s.hooks, &flotillav1.PutRequest{Key: []byte(key), Value: []byte(value)})
		return err
	}
}

func (s *shard) delete(prefix string) mvcc.Revision { return s.apply(s.deleting(prefix)) }

func (s *shard) deleting(prefix string) func(mvcc.Writer, *mvcc.State) error {
	return func(w mvcc.Writer, st *mvcc.State) error {
		_, err := mvcc.Delete(w, st, s.hooks, &flotillav1.DeleteRequest{
			Target: &flotillav1.DeleteRequest_Range{Range: &flotillav1.KeyRange{Prefix: []byte(prefix)}},
		})
		return err
	}
}

// txn puts several keys in one revision.
func (s *shard) txn(value string, keys ...string) mvcc.Revision {
	return s.apply(func(w mvcc.Writer, st *mvcc.State) error {
		req := &flotillav1.TxnRequest{}
		for _, key := range keys {
			req.Success = append(req.Success, &flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Put{
				Put: &flotillav1.PutRequest{Key: []byte(key), Value: []byte(value)},
			}})
		}
		_, err := mvcc.Txn(w, st, s.hooks, req)
		return err
	})
}

// compact drops the revisions before one.
func (s *shard) compact(revision mvcc.Revision) {
	s.apply(func(_ mvcc.Writer, st *mvcc.State) error {
		_, err := mvcc.Compact(st, &flotillav1.CompactRequest{Revision: uint64(revision)})
		return err
	})
}

// purge removes what compaction dropped.
func (s *shard) purge() {
	s.apply(func(w mvcc.Writer, st *mvcc.State) error {
		for {
			result, err := mvcc.Purge(w, st, 100)
			if err != nil || result.Done {
				return err
			}
		}
	})
}

// writeUnseen writes as another replica would, from which a snapshot came.
func (s *shard) writeUnseen(commands ...func(w mvcc.Writer, st *mvcc.State) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, command := range commands {
		require.NoError(s.t, command(s.store, &s.state))
	}
}

// client is a stream of watches of the namespace.
type client struct {
	*watch.Stream
	t *testing.T
	s *shard
}

func newClient(t *testing.T, s *shard, cfg watch.StreamConfig) *client {
	t.Helper()
	c := &client{Stream: watch.NewStream(cfg), t: t, s: s}
	t.Cleanup(c.Close)
	return c
}

func prefixSpec(prefix string) watch.Spec {
	start, end, _ := mvcc.Bounds(&flotillav1.KeyRange{Prefix: []byte(prefix)})
	return watch.Spec{Start: start, End: end}
}

func keySpec(key string) watch.Spec {
	only := tenancy.OneKey([]byte(key))
	return watch.Spec{Start: only.Start, End: only.End}
}

func (c *client) create(spec watch.Spec) {
	c.t.Helper()
	require.NoError(c.t, c.Create(c.s.hub, watch.Owner{Tenant: "t", Namespace: testNamespace}, spec))
}

// next is what the stream tells next, as text: one line an answer.
func (c *client) next() []string {
	c.t.Helper()
	answers, err := c.Next(c.t.Context(), nil)
	require.NoError(c.t, err)
	var lines []string
	for _, a := range answers {
		lines = append(lines, describe(a))
	}
	return lines
}

// nothing requires that the stream has nothing to tell. All goroutines are idle.
func (c *client) nothing() {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	cancel()
	answers, err := c.Next(ctx, nil)
	require.ErrorIs(c.t, err, context.Canceled)
	require.Empty(c.t, answers)
}

func describe(a watch.Answer) string {
	text := fmt.Sprintf("%d:", a.WatchID)
	if a.All {
		text = "all:"
	}
	if a.Created {
		text += " created"
	}
	if a.Canceled {
		text += " canceled"
	}
	if a.Err != nil {
		text += fmt.Sprintf(" %q", a.Err)
	}
	if a.Resume != 0 {
		text += fmt.Sprintf(" resume=%d", a.Resume)
	}
	if a.IsProgress() {
		text += " progress"
	}
	for _, e := range a.Events {
		text += " " + describeEvent(e, a.PrevKV)
	}
	if a.Fragment {
		text += " fragment"
	}
	return text + fmt.Sprintf(" @%d", a.Revision)
}

func describeEvent(e *watch.Event, prev bool) string {
	text := fmt.Sprintf("%s=%s/%d", e.Key, e.Version.Value, e.Revision)
	if e.IsDelete() {
		text = fmt.Sprintf("-%s/%d", e.Key, e.Revision)
	}
	if prev {
		if kv := e.PrevKV(); kv != nil {
			text += fmt.Sprintf("(was %s/%d)", kv.GetValue(), kv.GetModRevision())
		} else {
			text += "(was nothing)"
		}
	}
	return text
}
