package watch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// fullWatcher watches everything from the beginning, over all restarts.
type fullWatcher struct {
	kv     *flotilla.KV
	record Record

	mu       sync.Mutex
	revision uint64
	changed  chan struct{} // closed when revision grows
	err      error
}

func newFullWatcher(kv *flotilla.KV) *fullWatcher {
	return &fullWatcher{
		kv: kv, changed: make(chan struct{}),
		record: Record{Name: "full", Keys: flotilla.AllKeys(), Opts: flotilla.WatchOptions{From: 2, PrevKV: true}},
	}
}

func (f *fullWatcher) run(ctx context.Context) {
	for batch, err := range f.kv.WatchBatches(ctx, f.record.Keys, &f.record.Opts) {
		if err != nil {
			if ctx.Err() == nil {
				f.fail(err)
			}
			return
		}
		f.record.Batches = append(f.record.Batches, batch)
		f.mu.Lock()
		f.revision = batch.Revision
		close(f.changed)
		f.changed = make(chan struct{})
		f.mu.Unlock()
	}
}

func (f *fullWatcher) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = errors.Join(f.err, err)
}

func (f *fullWatcher) seen() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revision
}

func (f *fullWatcher) waitFor(t *testing.T, revision uint64, within time.Duration) {
	t.Helper()
	late := time.After(within)
	for {
		f.mu.Lock()
		seen, changed, err := f.revision, f.changed, f.err
		f.mu.Unlock()
		require.NoError(t, err)
		if seen >= revision {
			return
		}
		select {
		case <-changed:
		case <-late:
			require.FailNow(t, "the full watcher does not come to the end", "it is at %d of %d", seen, revision)
		}
	}
}

// watcher watches this and that: it breaks off, begins again where it was or
// somewhere else, and is quick or slow.
type watcher struct {
	kv        *flotilla.KV
	full      *fullWatcher
	name      int
	random    *rand.Rand
	records   []*Record
	overtaken int
	err       error

	recorded atomic.Int64 // how many records there are, while it runs
}

func newWatcher(kv *flotilla.KV, full *fullWatcher, name int, random *rand.Rand) *watcher {
	return &watcher{kv: kv, full: full, name: name, random: random}
}

func (w *watcher) run(ctx context.Context) {
	from := uint64(0)
	for ctx.Err() == nil && w.err == nil {
		from = w.watch(ctx, w.choose(from))
	}
}

// choose makes the next watch, most often from where the last one ended.
func (w *watcher) choose(resume uint64) *Record {
	r := &Record{Name: fmt.Sprintf("watcher %d, watch %d", w.name, len(w.records))}
	switch w.random.IntN(4) {
	case 0:
		r.Keys = flotilla.OneKey(randomKey(w.random))
	case 1:
		r.Keys = flotilla.Prefix(fmt.Sprintf("%c/", 'a'+rune(w.random.IntN(3))))
	case 2:
		r.Keys = flotilla.KeyRange{Start: "a/4", End: "c/2"}
	}
	r.Opts.From = resume
	switch w.random.IntN(6) {
	case 0:
		r.Opts.From = 0
	case 1:
		seen := w.full.seen()
		r.Opts.From = max(seen, 30) - uint64(w.random.IntN(28))
	case 2:
		r.Opts.From = w.full.seen() + uint64(w.random.IntN(20))
	}
	r.Opts.PrevKV = w.random.IntN(2) == 0
	r.Opts.NoPut, r.Opts.NoDelete = w.random.IntN(8) == 0, w.random.IntN(8) == 0
	return r
}

// watch records one watch, and returns the revision to go on from.
func (w *watcher) watch(ctx context.Context, r *Record) (resume uint64) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(100+w.random.IntN(1500))*time.Millisecond)
	defer cancel()
	slow := w.random.IntN(3) == 0
	left := 1 + w.random.IntN(200)
	for batch, err := range w.kv.WatchBatches(ctx, r.Keys, &r.Opts) {
		var compacted *flotilla.CompactedError
		switch {
		case errors.As(err, &compacted):
			if len(r.Batches) > 0 && compacted.CompactRevision <= r.Batches[len(r.Batches)-1].Revision {
				w.err = fmt.Errorf("%s: overtaken by revision %d, which it had seen", r.Name, compacted.CompactRevision)
			}
			w.overtaken++
			resume = compacted.CompactRevision
		case err != nil && ctx.Err() == nil:
			w.err = fmt.Errorf("%s: %w", r.Name, err)
		}
		if err != nil {
			break
		}
		r.Batches = append(r.Batches, batch)
		resume = batch.Revision + 1
		if slow {
			moment(w.random, 0, 50*time.Millisecond)
		}
		if left--; left == 0 {
			break
		}
	}
	if len(r.Batches) > 0 {
		w.records = append(w.records, r)
		w.recorded.Add(1)
	}
	return resume
}
