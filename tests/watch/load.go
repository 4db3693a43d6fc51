package watch

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

const (
	watchers = 10
	writers  = 6
	// What is checked says little unless there are more writes and watches than these.
	// A machine that is busy may take enoughWithin to get there.
	writesMin, watchesMin = 100, 20
	enoughWithin          = time.Minute
)

// A Load is writers, watchers and a compactor of a namespace that nobody else
// uses. What happens to the nodes meanwhile is up to the test.
type Load struct {
	kv   func() *flotilla.KV
	full *fullWatcher

	ctx                                 context.Context //nolint:containedctx // the load's own life
	cancel, stopWatching                context.CancelFunc
	stopWriting                         chan struct{}
	fullDone, watchersDone, writersDone sync.WaitGroup

	watchers []*watcher
	writers  []*writer
}

// Start starts a load. kv makes a client of the namespace, for each part one of
// its own. Finish ends it, and the end of the test at the latest.
func Start(t *testing.T, kv func() *flotilla.KV, seed uint64) *Load {
	t.Helper()
	l := &Load{kv: kv, full: newFullWatcher(kv()), stopWriting: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(t.Context())
	l.fullDone.Go(func() { l.full.run(l.ctx) })
	watching, stopWatching := context.WithCancel(l.ctx)
	l.stopWatching = stopWatching
	for i := range watchers {
		w := newWatcher(kv(), l.full, i, rand.New(rand.NewPCG(seed, uint64(100+i))))
		l.watchers = append(l.watchers, w)
		l.watchersDone.Go(func() { w.run(watching) })
	}
	for i := range writers {
		w := &writer{kv: kv(), random: rand.New(rand.NewPCG(seed, uint64(200+i))), name: i}
		l.writers = append(l.writers, w)
		l.writersDone.Go(func() { w.run(l.ctx, l.stopWriting) })
	}
	compactor, random := kv(), rand.New(rand.NewPCG(seed, 300))
	l.writersDone.Go(func() { l.compact(compactor, random) })
	t.Cleanup(l.end)
	return l
}

// end ends all that is left of the load.
func (l *Load) end() {
	l.cancel()
	l.writersDone.Wait()
	l.watchersDone.Wait()
	l.fullDone.Wait()
}

// Finish waits until there is enough to check, has the writers write no more, lets the
// watches come to the end, within a bound, and then checks all that was shown. The
// nodes must be well.
func (l *Load) Finish(t *testing.T, within time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(enoughWithin); !l.enough() && time.Now().Before(deadline); {
		<-time.After(20 * time.Millisecond)
	}
	close(l.stopWriting)
	l.writersDone.Wait()
	kv := l.kv()
	end, err := kv.Put(t.Context(), "end", nil, nil)
	require.NoError(t, err)
	l.full.waitFor(t, end.Revision, within)
	l.stopWatching()
	l.watchersDone.Wait()
	l.end()
	l.check(t, kv, end.Revision)
}

// enough tells whether more was written and watched than must be.
func (l *Load) enough() bool {
	var writes, watches int64
	for _, w := range l.writers {
		writes += w.acknowledged.Load()
	}
	for _, w := range l.watchers {
		watches += w.recorded.Load()
	}
	return writes > writesMin && watches > watchesMin
}

func (l *Load) check(t *testing.T, kv *flotilla.KV, end uint64) {
	t.Helper()
	records, writes := []*Record{&l.full.record}, []Write{{Revision: end, Puts: map[string]string{"end": ""}}}
	require.NoError(t, l.full.err)
	events, overtaken := 0, 0
	for _, w := range l.watchers {
		require.NoError(t, w.err, "watcher %d", w.name)
		records = append(records, w.records...)
		overtaken += w.overtaken
	}
	for _, r := range records {
		for _, b := range r.Batches {
			events += len(b.Events)
		}
	}
	for _, w := range l.writers {
		require.NoError(t, w.err)
		writes = append(writes, w.writes...)
	}
	last := make(map[string]*flotilla.KeyValue)
	for found, err := range kv.Range(t.Context(), flotilla.AllKeys(), nil) {
		require.NoError(t, err)
		last[found.Key] = found
	}
	t.Logf("%d revisions, %d acknowledged writes, %d watches with %d events, %d overtaken by compaction",
		end, len(writes), len(records), events, overtaken)
	require.NoError(t, Check(records, writes, last, end))
	require.Greater(t, len(writes), writesMin)
	require.Greater(t, len(records), watchesMin)
}

// compact compacts from time to time, up to where the full watcher is.
func (l *Load) compact(kv *flotilla.KV, random *rand.Rand) {
	for {
		select {
		case <-l.stopWriting:
			return
		case <-l.ctx.Done():
			return
		case <-time.After(time.Duration(20+random.IntN(150)) * time.Millisecond):
		}
		seen := l.full.seen()
		if seen < 50 {
			continue
		}
		err := kv.Compact(l.ctx, seen-uint64(random.IntN(50)))
		if err != nil && !errors.As(err, new(*flotilla.CompactedError)) && !explained(err) {
			l.full.fail(err)
			return
		}
	}
}

// moment lets a random time pass. Nothing is waited for: the moment is what is
// tested.
func moment(random *rand.Rand, from, to time.Duration) {
	<-time.After(from + time.Duration(random.Int64N(int64(to-from))))
}
