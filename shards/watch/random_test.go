package watch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
)

// TestRandomWatchesSeeExactlyWhatHappened writes, compacts and loses events on
// their way at random, while streams create and cancel watches with small
// buffers, and take answers now quickly, now slowly. What each watch was given is
// then held to what was written.
func TestRandomWatchesSeeExactlyWhatHappened(t *testing.T) {
	t.Parallel()
	first, runs := rand.Uint64(), 40
	if text := os.Getenv("FLOTILLA_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
		first, runs = seed, 1
	}
	for i := range runs {
		seed := first + uint64(i)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			runRandom(t, seed)
		})
	}
}

const (
	randomWrites  = 300
	randomStreams = 3
)

func runRandom(t *testing.T, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	s := newShard(t, watch.Config{
		WatchBytesMax: 600 + random.IntN(3000), TenantBytesMax: 1000 + random.IntN(20_000),
		RecentBytesMax: 1 + random.IntN(2)*random.IntN(30_000),
	})
	w := &randomWriter{s: s, random: random}
	var done sync.WaitGroup
	written := make(chan struct{})
	readers := make([]*randomReader, randomStreams)
	for i := range readers {
		r := &randomReader{
			client: newClient(t, s, watch.StreamConfig{}),
			random: rand.New(rand.NewPCG(seed, uint64(i)+1)), watches: map[int64]*seenWatch{},
		}
		readers[i] = r
		done.Go(func() { r.run(written) })
	}
	for range randomWrites {
		w.write()
	}
	close(written)
	done.Wait()
	for _, r := range readers {
		r.verify(t, w.history, s.state.Revision)
	}
	for _, r := range readers {
		r.Close()
	}
	require.Zero(t, s.accounts.Watches())
	s.hub.Close(nil)
}

// happened is one event as it was written.
type happened struct {
	revision    mvcc.Revision
	key, value  string
	deleted     bool
	prev        string // value before
	prevExisted bool
}

type randomWriter struct {
	s       *shard
	random  *rand.Rand
	history []happened
	live    map[string]string
}

// write applies a batch of a few commands, and publishes it, or loses what it
// published, or says that the state was replaced.
func (w *randomWriter) write() {
	s := w.s
	if w.random.IntN(30) == 0 {
		s.mu.Lock()
		compact := s.state.CompactRevision + mvcc.Revision(w.random.IntN(int(s.state.Revision-s.state.CompactRevision)+1))
		newest := s.state.CompactRevision
		s.mu.Unlock()
		if compact > newest {
			s.compact(compact)
		}
		if w.random.IntN(2) == 0 {
			s.purge()
		}
		return
	}
	var commands []func(mvcc.Writer, *mvcc.State) error
	for range 1 + w.random.IntN(3) {
		commands = append(commands, w.command())
	}
	switch w.random.IntN(40) {
	case 0: // the record is incomplete
		s.begin() // of a batch without what is written next
		s.writeUnseen(commands...)
		s.mu.Lock()
		after := s.state.Revision
		s.mu.Unlock()
		s.recorder.Publish([]machine.Change{{Namespace: testNamespace, Revision: after}})
	case 1:
		s.writeUnseen(commands...)
		s.recorder.Restored()
	default:
		s.apply(commands...)
	}
}

func (w *randomWriter) command() func(mvcc.Writer, *mvcc.State) error {
	key := fmt.Sprintf("k%d", w.random.IntN(20))
	value := fmt.Sprintf("v%d", w.random.IntN(1000))
	if w.random.IntN(10) == 0 {
		value += string(bytes.Repeat([]byte("x"), w.random.IntN(2000)))
	}
	do := w.s.putting(key, value)
	if w.random.IntN(4) == 0 {
		do = w.s.deleting(key) // and all that begin with it
	}
	return func(out mvcc.Writer, st *mvcc.State) error {
		before := st.Revision
		if err := do(out, st); err != nil || st.Revision == before {
			return err
		}
		return w.note(out, st.Revision)
	}
}

// note remembers the events of a revision, as they are stored.
func (w *randomWriter) note(r mvcc.Reader, revision mvcc.Revision) error {
	if w.live == nil {
		w.live = map[string]string{}
	}
	it := r.Events(revision)
	var keys []string
	for it.Next() {
		keys = append(keys, string(it.Key()))
	}
	if err := it.Close(); err != nil {
		return err
	}
	for _, key := range keys {
		_, stored, _, err := r.Version([]byte(key), revision)
		if err != nil {
			return err
		}
		v, err := mvcc.DecodeVersion(stored)
		if err != nil {
			return err
		}
		h := happened{revision: revision, key: key, value: string(v.Value), deleted: v.Tombstone}
		h.prev, h.prevExisted = w.live[key]
		w.live[key] = h.value
		if h.deleted {
			delete(w.live, key)
		}
		w.history = append(w.history, h)
	}
	return nil
}

// seenWatch is what a watch was given.
type seenWatch struct {
	spec     watch.Spec
	from     mvcc.Revision // the first revision that it must show
	upTo     mvcc.Revision // it was told that it has seen all up to here
	events   []*watch.Event
	fragment bool // the last answer said that more of its revision follows
	ended    bool
	compact  mvcc.Revision // why, if it was that
}

type randomReader struct {
	*client
	random   *rand.Rand
	watches  map[int64]*seenWatch
	finished []*seenWatch
	pending  map[int64]watch.Spec
	allAt    mvcc.Revision // the last notice for all
	failure  error
}

func (r *randomReader) run(written <-chan struct{}) {
	r.pending = map[int64]watch.Spec{}
	for {
		select {
		case <-written:
			r.drain()
			return
		default:
		}
		switch r.random.IntN(6) {
		case 0:
			r.begin()
		case 1:
			for id := range r.watches {
				if r.random.IntN(4) == 0 {
					r.Cancel(id)
				}
				break
			}
		case 2:
			r.ProgressAll()
		default:
			r.take(time.Duration(r.random.IntN(300)) * time.Microsecond)
		}
	}
}

func (r *randomReader) begin() {
	if len(r.watches) > 8 {
		return
	}
	spec := prefixSpec([]string{"", "k", "k1", "k5", "zz"}[r.random.IntN(5)])
	if r.random.IntN(3) == 0 {
		spec = keySpec(fmt.Sprintf("k%d", r.random.IntN(20)))
	}
	spec.PrevKV, spec.Fragment = r.random.IntN(3) == 0, r.random.IntN(3) == 0
	spec.NoPut, spec.NoDelete = r.random.IntN(6) == 0, r.random.IntN(6) == 0
	if r.random.IntN(2) == 0 {
		r.s.mu.Lock()
		newest := int(r.s.state.Revision)
		r.s.mu.Unlock()
		spec.From = mvcc.Revision(1 + r.random.IntN(newest+20))
	}
	spec.ID = int64(len(r.finished)+len(r.watches)+1)*100 + int64(r.random.IntN(100))
	if r.watches[spec.ID] != nil {
		return
	}
	r.watches[spec.ID] = &seenWatch{spec: spec}
	r.create(spec)
}

func (r *randomReader) take(patience time.Duration) (progressed bool) {
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	answers, err := r.Next(ctx, nil)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		r.failure = err
	}
	for i := range answers {
		r.note(&answers[i])
		progressed = progressed || answers[i].All
	}
	return progressed
}

func (r *randomReader) note(a *watch.Answer) {
	if a.All {
		r.allAt = max(r.allAt, a.Revision)
		for _, w := range r.watches {
			if w.from != 0 { // its beginning was told before
				w.upTo = max(w.upTo, a.Revision)
			}
		}
		return
	}
	w := r.watches[a.WatchID]
	if w == nil {
		if !errors.Is(a.Err, watch.ErrWatchNotFound) {
			r.failure = fmt.Errorf("an answer for watch %d, which has ended", a.WatchID)
		}
		return
	}
	if a.Created {
		if w.from = w.spec.From; w.from == 0 {
			w.from = a.Revision + 1
		}
		return
	}
	if a.Canceled {
		if compacted, ok := errors.AsType[*mvcc.CompactedError](a.Err); ok {
			w.compact = compacted.CompactRevision
		} else if a.Err != nil && !errors.Is(a.Err, watch.ErrWatchNotFound) {
			r.failure = a.Err
		}
		w.ended = true
		w.upTo = max(w.upTo, min(a.Resume-1, a.Revision))
		r.finished = append(r.finished, w)
		delete(r.watches, a.WatchID)
		return
	}
	if w.fragment && a.Events[0].Revision != w.events[len(w.events)-1].Revision {
		r.failure = fmt.Errorf("a fragment without an end at revision %d", a.Revision)
	}
	if !w.fragment && len(w.events) > 0 && len(a.Events) > 0 && a.Events[0].Revision == w.events[len(w.events)-1].Revision {
		r.failure = fmt.Errorf("the events of revision %d are in two answers", a.Events[0].Revision)
	}
	if a.Fragment && !w.spec.Fragment {
		r.failure = errors.New("a fragment that nobody asked for")
	}
	w.events, w.fragment = append(w.events, a.Events...), a.Fragment
	if upTo := a.Revision; a.Fragment {
		w.upTo = max(w.upTo, upTo-1)
	} else {
		w.upTo = max(w.upTo, upTo)
	}
}

// drain takes all that there is: a notice for all watches that was asked for now
// comes last.
func (r *randomReader) drain() {
	for r.failure == nil {
		r.ProgressAll()
		told := r.take(10 * time.Second)
		r.s.mu.Lock()
		newest := r.s.state.Revision
		r.s.mu.Unlock()
		if told && (r.allAt >= newest || len(r.watches) == 0) {
			return
		}
	}
}

func (r *randomReader) verify(t *testing.T, history []happened, newest mvcc.Revision) {
	t.Helper()
	require.NoError(t, r.failure)
	for _, w := range r.watches {
		if w.from == 0 || w.spec.From > newest {
			continue
		}
		require.GreaterOrEqual(t, w.upTo, newest, "%+v", w.spec)
		w.verify(t, history, newest)
	}
	for _, w := range r.finished {
		w.verify(t, history, w.upTo)
	}
}

func (w *seenWatch) verify(t *testing.T, history []happened, upTo mvcc.Revision) {
	t.Helper()
	i := 0
	for _, h := range history {
		if h.revision < w.from || h.deleted && w.spec.NoDelete || !h.deleted && w.spec.NoPut ||
			h.key < string(w.spec.Start) || len(w.spec.End) > 0 && h.key >= string(w.spec.End) {
			continue
		}
		if i == len(w.events) {
			if h.revision > upTo {
				return
			}
			require.Failf(t, "lost", "%s at %d, seen up to %d, %+v", h.key, h.revision, upTo, w.spec)
		}
		e := w.events[i]
		i++
		got := happened{revision: e.Revision, key: string(e.Key), value: string(e.Version.Value), deleted: e.IsDelete()}
		if w.spec.PrevKV {
			if kv := e.PrevKV(); kv != nil {
				got.prev, got.prevExisted = string(kv.GetValue()), true
			} else { // it was compacted, or there was none
				h.prev, h.prevExisted = "", false
			}
		} else {
			h.prev, h.prevExisted = "", false
		}
		require.Equal(t, h, got)
	}
	require.Equal(t, len(w.events), i, "events that did not happen, or twice")
}
