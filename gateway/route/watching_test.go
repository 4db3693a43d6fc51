package route_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway/route"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// watchFleet is other nodes that serve watches as the test says. This node has no
// replica.
type watchFleet struct {
	otherNodes
	mu      sync.Mutex
	sources map[string]*fakeSource // the last one of each node
	opened  []string
	refuse  map[string]error
}

func newWatchFleet() *watchFleet {
	f := newFleet()
	f.here, f.hosts = false, []string{"n2"}
	return &watchFleet{otherNodes: otherNodes{f}, sources: map[string]*fakeSource{}, refuse: map[string]error{}}
}

func (w *watchFleet) OpenWatches(_ context.Context, node string, _ watch.Owner, _ time.Duration) (shards.WatchSource, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened = append(w.opened, node)
	if err := w.refuse[node]; err != nil {
		return nil, err
	}
	s := &fakeSource{answers: make(chan []watch.Answer, 100), closed: make(chan struct{}), broken: make(chan error, 1), refuse: map[int64]error{}}
	w.sources[node] = s
	return s, nil
}

func (w *watchFleet) source(node string) *fakeSource {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sources[node]
}

func (w *watchFleet) kv() *route.KV {
	router := route.NewRouter(route.RouterConfig{NodeID: "n1", Local: localNode{w.fleet}, Remote: w, Directory: w})
	return route.NewKV(router, fakeCatalog{})
}

// fakeSource notes what is asked, and begins watches at once, at revision 10.
type fakeSource struct {
	answers chan []watch.Answer
	broken  chan error
	closed  chan struct{}
	once    sync.Once

	mu     sync.Mutex
	asked  []string
	refuse map[int64]error
	silent bool
}

func (s *fakeSource) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, fmt.Sprintf(format, args...))
}

func (s *fakeSource) seen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.asked, ", ")
}

func (s *fakeSource) Begin(shard shards.ShardID, ns tenancy.NamespaceID, spec watch.Spec) error {
	s.note("begin %d of %d on %d from %d", spec.ID, ns, shard, spec.From)
	s.mu.Lock()
	refuse, silent := s.refuse[spec.ID], s.silent
	s.mu.Unlock()
	switch {
	case silent:
	case refuse != nil:
		s.answers <- []watch.Answer{{WatchID: spec.ID, Created: true, Canceled: true, Err: refuse}}
	default:
		s.answers <- []watch.Answer{{WatchID: spec.ID, Created: true, Revision: 10, Latest: 10}}
	}
	return nil
}

func (s *fakeSource) Cancel(id int64) error {
	s.note("cancel %d", id)
	s.answers <- []watch.Answer{{WatchID: id, Canceled: true, Resume: 11}}
	return nil
}

func (s *fakeSource) Progress(id int64) error {
	s.note("progress %d", id)
	return nil
}

func (s *fakeSource) ProgressAll() { s.note("progress of all") }

func (s *fakeSource) Receive() ([]watch.Answer, error) {
	select {
	case answers := <-s.answers:
		return answers, nil
	default:
	}
	select {
	case answers := <-s.answers:
		return answers, nil
	case err := <-s.broken:
		return nil, err
	case <-s.closed:
		return nil, &shards.UnreachableError{Node: "n", Cause: errors.New("closed")}
	}
}

func (s *fakeSource) Close() { s.once.Do(func() { close(s.closed) }) }

// give answers with events of revisions; "-" after one splits it.
func (s *fakeSource) give(id int64, fragment bool, revisions ...mvcc.Revision) {
	a := watch.Answer{WatchID: id, Fragment: fragment, Revision: revisions[len(revisions)-1]}
	for i, r := range revisions {
		a.Events = append(a.Events, watch.EventFrom(&flotillav1.Event{Kv: &flotillav1.KeyValue{
			Key: fmt.Appendf(nil, "%d", i), ModRevision: uint64(r),
		}}))
	}
	s.answers <- []watch.Answer{a}
}

// breaks ends the source as the death of its node does.
func (s *fakeSource) breaks() {
	s.broken <- &shards.UnreachableError{Node: "n", Cause: errors.New("broken")}
}

// told is what a caller is told, as text.
func told(t *testing.T, w *route.Watches) string {
	t.Helper()
	answers, err := w.Next(t.Context(), nil)
	require.NoError(t, err)
	var lines []string
	for _, a := range answers {
		line := fmt.Sprint(a.WatchID)
		switch {
		case a.Created && a.Canceled:
			line += " refused"
		case a.Created:
			line += " created"
		case a.Canceled:
			line += fmt.Sprintf(" canceled at %d", a.Resume)
		case a.All:
			line = "all"
		}
		if a.Err != nil {
			line += fmt.Sprintf(" (%v)", a.Err)
		}
		for _, e := range a.Events {
			line += fmt.Sprintf(" %d", e.Revision)
		}
		if a.Fragment {
			line += "-"
		}
		if a.IsProgress() {
			line += fmt.Sprintf(" at %d", a.Revision)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

func silent(t *testing.T, w *route.Watches) {
	t.Helper()
	synctest.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	answers, err := w.Next(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, answers)
}

func create(id int64, from uint64) *flotillav1.WatchCreate {
	return &flotillav1.WatchCreate{WatchId: id, StartRevision: from, Target: &flotillav1.WatchCreate_Key{Key: []byte("a")}}
}

// watching is the watches of one caller, within a bubble.
type watching struct {
	t       *testing.T
	ctx     context.Context //nolint:containedctx // the caller's
	fleet   *watchFleet
	watches *route.Watches
}

func watchTest(t *testing.T, test func(c *watching)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newWatchFleet()
		ctx := asTenant(t.Context(), tenancy.FullAccess())
		c := &watching{t: t, ctx: ctx, fleet: f, watches: f.kv().NewWatches(ctx, watch.StreamConfig{})}
		test(c)
		c.watches.Close()
	})
}

func TestWatchElsewhere(t *testing.T) {
	watchTest(t, func(c *watching) {
		t, ctx, f, w := c.t, c.ctx, c.fleet, c.watches
		require.NoError(t, w.CreateOne(ctx, create(0, 0)))
		require.NoError(t, w.CreateOne(ctx, create(7, 5)))
		n2 := f.source("n2")
		require.Equal(t, []string{"n2"}, f.opened, "one stream for both")
		require.Equal(t, "begin 1 of 1024 on 2 from 0, begin 7 of 1024 on 2 from 5", n2.seen())
		require.Equal(t, "1 created; 7 created", told(t, w))
		require.Equal(t, 2, w.Len())
		n2.give(1, false, 11, 12)
		synctest.Wait()
		require.Equal(t, "1 11 12", told(t, w))
		w.Progress(7)
		w.Progress(0)
		n2.answers <- []watch.Answer{{WatchID: 7, Revision: 12}, {All: true, Revision: 12}}
		synctest.Wait()
		require.Equal(t, "7 at 12; all at 12", told(t, w))
		w.Cancel(7)
		synctest.Wait()
		require.Equal(t, "7 canceled at 11", told(t, w))
		w.Cancel(7)
		require.Contains(t, told(t, w), "no watch of this id")
		require.Equal(t, "begin 1 of 1024 on 2 from 0, begin 7 of 1024 on 2 from 5, progress 7, progress of all, cancel 7", n2.seen())
		w.End(errors.New("over"))
		require.Equal(t, "1 canceled at 13 (over)", told(t, w))
	})
}

func TestRefusedWatchElsewhere(t *testing.T) {
	watchTest(t, func(c *watching) {
		t, ctx, f, w := c.t, c.ctx, c.fleet, c.watches
		require.NoError(t, w.CreateOne(ctx, create(1, 0)))
		told(t, w)
		refused := &tenancy.QuotaError{Limit: "watches_max"}
		f.source("n2").refuse[2] = refused
		require.ErrorIs(t, w.CreateOne(ctx, create(2, 0)), refused)
		require.ErrorIs(t, w.CreateOne(ctx, create(1, 0)), watch.ErrWatchIDInUse)
		require.Equal(t, 1, w.Len())
		w.Create(ctx, create(2, 0))
		require.Equal(t, "2 refused (the limit watches_max of 0 is reached)", told(t, w))
	})
}

// A watch that cannot be served by one node is begun at another.
func TestWatchIsBegunWhereItCanBe(t *testing.T) {
	watchTest(t, func(c *watching) {
		t, ctx, f, w := c.t, c.ctx, c.fleet, c.watches
		f.set(func() { f.hosts = []string{"n2", "n3", "n4"} })
		f.refuse["n2"], f.refuse["n4"] = unreachable(), unreachable()
		require.NoError(t, w.CreateOne(ctx, create(0, 0)))
		require.NotNil(t, f.source("n3"))
		require.Equal(t, "1 created", told(t, w))
		f.source("n3").refuse[2] = &shards.NotLeaderError{}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		var noLeader *shards.NotLeaderError
		var gone *shards.UnreachableError
		err := w.CreateOne(ctx, create(0, 0))
		require.True(t, errors.As(err, &noLeader) || errors.As(err, &gone), "%v", err)
		require.Equal(t, 1, w.Len())
	})
}

// The caller of a watch whose node is lost notices nothing.
func TestWatchGoesOnElsewhere(t *testing.T) {
	watchTest(t, func(c *watching) {
		t, ctx, f, w := c.t, c.ctx, c.fleet, c.watches
		require.NoError(t, w.CreateOne(ctx, create(0, 0)))
		require.NoError(t, w.CreateOne(ctx, create(0, 5)))
		told(t, w)
		n2 := f.source("n2")
		n2.give(1, false, 11, 14)
		synctest.Wait()
		require.Equal(t, "1 11 14", told(t, w))
		w.Progress(2)
		f.set(func() { f.hosts = []string{"n3"} })
		n2.breaks()
		synctest.Wait()
		n3 := f.source("n3")
		require.Contains(t, n3.seen(), "begin 1 of 1024 on 2 from 15")
		require.Contains(t, n3.seen(), "begin 2 of 1024 on 2 from 5")
		require.Contains(t, n3.seen(), "progress 2", "what was asked is asked again")
		silent(t, w)
		n3.give(1, false, 15)
		synctest.Wait()
		require.Equal(t, "1 15", told(t, w))

		// Also when the node ends them one by one.
		f.set(func() { f.hosts = []string{"n4"} })
		n3.answers <- []watch.Answer{{WatchID: 1, Canceled: true, Err: shards.ErrStopping}}
		synctest.Wait()
		require.Equal(t, "begin 1 of 1024 on 2 from 16", f.source("n4").seen())
		silent(t, w)
		// But not when the watch itself cannot go on.
		f.source("n4").answers <- []watch.Answer{{WatchID: 1, Canceled: true, Err: &mvcc.CompactedError{CompactRevision: 20}}}
		synctest.Wait()
		require.Contains(t, told(t, w), "compacted")
		require.Equal(t, 1, w.Len())
	})
}

// Of a revision that was given in part only the rest is given after a move.
func TestSplitRevisionGoesOnElsewhere(t *testing.T) {
	watchTest(t, func(c *watching) {
		t, ctx, f, w := c.t, c.ctx, c.fleet, c.watches
		require.NoError(t, w.CreateOne(ctx, create(1, 0)))
		told(t, w)
		n2 := f.source("n2")
		n2.give(1, true, 11, 12, 12)
		synctest.Wait()
		require.Equal(t, "1 11 12 12-", told(t, w))
		n2.give(1, true, 12)
		synctest.Wait()
		require.Equal(t, "1 12-", told(t, w))
		f.set(func() { f.hosts = []string{"n3"} })
		n2.breaks()
		synctest.Wait()
		n3 := f.source("n3")
		require.Equal(t, "begin 1 of 1024 on 2 from 12", n3.seen())
		n3.give(1, true, 12, 12)
		n3.give(1, true, 12, 12)
		synctest.Wait()
		require.Equal(t, "1 12-", told(t, w), "three of them were given before")
		f.set(func() { f.hosts = []string{"n4"} })
		n3.breaks()
		synctest.Wait()
		n4 := f.source("n4")
		n4.give(1, true, 12, 12, 12, 12)
		n4.give(1, false, 12, 13)
		synctest.Wait()
		require.Equal(t, "1 12 13", told(t, w), "four of them")
	})
}

func TestWatchThatFindsNoOtherNodeEnds(t *testing.T) {
	watchTest(t, func(c *watching) {
		t, ctx, f, w := c.t, c.ctx, c.fleet, c.watches
		require.NoError(t, w.CreateOne(ctx, create(1, 5)))
		told(t, w)
		f.source("n2").give(1, false, 8)
		synctest.Wait()
		told(t, w)
		f.set(func() { f.hosts = []string{"n3"} })
		f.refuse["n3"] = unreachable()
		f.source("n2").breaks()
		start := time.Now()
		require.Contains(t, told(t, w), "1 canceled at 9 (node x cannot be reached")
		require.Greater(t, time.Since(start), 25*time.Second)
		require.Zero(t, w.Len())
	})
}

// A watch can be canceled while nobody serves it.
func TestWatchThatMovesCanBeCanceled(t *testing.T) {
	watchTest(t, func(c *watching) {
		t, ctx, f, w := c.t, c.ctx, c.fleet, c.watches
		require.NoError(t, w.CreateOne(ctx, create(1, 5)))
		require.NoError(t, w.CreateOne(ctx, create(2, 5)))
		told(t, w)
		f.set(func() { f.hosts = nil })
		f.source("n2").breaks()
		synctest.Wait()
		w.Cancel(1)
		require.Equal(t, "1 canceled at 5", told(t, w))
		f.set(func() { f.hosts = []string{"n3"} })
		time.Sleep(time.Second) //nolint:forbidigo // the bubble's time
		require.Equal(t, "begin 2 of 1024 on 2 from 5", f.source("n3").seen())
		require.NoError(t, w.CreateOne(ctx, create(1, 0)), "its id is free")
		require.Equal(t, "1 created", told(t, w))
	})
}

// A node that does not answer in time is left, with all that it serves.
func TestNodeThatDoesNotBeginWatchesIsLeft(t *testing.T) {
	watchTest(t, func(c *watching) {
		t, ctx, f, w := c.t, c.ctx, c.fleet, c.watches
		require.NoError(t, w.CreateOne(ctx, create(1, 5)))
		told(t, w)
		n2 := f.source("n2")
		n2.mu.Lock()
		n2.silent = true
		n2.mu.Unlock()
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		var gone *shards.UnreachableError
		require.ErrorAs(t, w.CreateOne(short, create(2, 0)), &gone)
		synctest.Wait()
		require.NotSame(t, n2, f.source("n2"), "the other watch is begun anew")
		require.Equal(t, "begin 1 of 1024 on 2 from 5", f.source("n2").seen())
		silent(t, w)
	})
}
