package watch

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
	"github.com/flotillakv/flotilla/tests/process"
)

func TestMain(m *testing.M) { os.Exit(process.Main(m)) }

// TestWatchesShowWhatHappened has writers, watchers and a compactor at a node
// that is killed or stopped again and again, and then checks all that was shown.
func TestWatchesShowWhatHappened(t *testing.T) {
	t.Parallel()
	rounds, spread := 4, 400*time.Millisecond
	if process.Slow() {
		rounds, spread = 60, 2*time.Second
	}
	seed := process.Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	node := process.Dev(t)
	kv := func() *flotilla.KV { return node.Client(t).Namespace(node.Info.Namespace).KV }
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()

	full := newFullWatcher(kv())
	var fullDone sync.WaitGroup
	fullDone.Go(func() { full.run(ctx) })
	watching, stopWatching := context.WithCancel(ctx)
	var watchers []*watcher
	var watchersDone sync.WaitGroup
	for i := range 10 {
		w := newWatcher(kv(), full, i, rand.New(rand.NewPCG(seed, uint64(100+i))))
		watchers = append(watchers, w)
		watchersDone.Go(func() { w.run(watching) })
	}
	writing, stopWriting := context.WithCancel(ctx)
	var writers []*writer
	var writersDone sync.WaitGroup
	for i := range 6 {
		w := &writer{kv: kv(), random: rand.New(rand.NewPCG(seed, uint64(200+i))), name: i}
		writers = append(writers, w)
		writersDone.Go(func() { w.run(ctx, writing.Done()) })
	}
	writersDone.Go(func() { compact(ctx, kv(), full, rand.New(rand.NewPCG(seed, 300)), writing.Done()) })

	for round := range rounds {
		moment(random, 300*time.Millisecond, 300*time.Millisecond+spread)
		if round%3 == 2 {
			node.Stop(t)
		} else {
			node.Kill(t)
		}
		node.Start(t)
	}
	moment(random, 300*time.Millisecond, 300*time.Millisecond+spread)
	stopWriting()
	writersDone.Wait()

	end, err := kv().Put(ctx, "end", nil, nil)
	require.NoError(t, err)
	full.waitFor(ctx, t, end.Revision)
	stopWatching()
	watchersDone.Wait()
	cancel()
	fullDone.Wait()

	records, writes := []*Record{&full.record}, []Write{{Revision: end.Revision, Puts: map[string]string{"end": ""}}}
	require.NoError(t, full.err)
	events, overtaken := 0, 0
	for _, w := range watchers {
		require.NoError(t, w.err, "watcher %d", w.name)
		records = append(records, w.records...)
		overtaken += w.overtaken
	}
	for _, r := range records {
		for _, b := range r.Batches {
			events += len(b.Events)
		}
	}
	for _, w := range writers {
		require.NoError(t, w.err)
		writes = append(writes, w.writes...)
	}
	last := make(map[string]*flotilla.KeyValue)
	for found, err := range kv().Range(t.Context(), flotilla.AllKeys(), nil) {
		require.NoError(t, err)
		last[found.Key] = found
	}
	t.Logf("%d revisions, %d acknowledged writes, %d watches with %d events, %d overtaken by compaction",
		end.Revision, len(writes), len(records), events, overtaken)
	require.NoError(t, Check(records, writes, last, end.Revision))
	require.Greater(t, len(writes), 100)
	require.Greater(t, len(records), 20)
}

// moment lets a random time pass. Nothing is waited for: the moment is what is
// tested.
func moment(random *rand.Rand, from, to time.Duration) {
	<-time.After(from + time.Duration(random.Int64N(int64(to-from))))
}

// compact compacts from time to time, up to where the full watcher is.
func compact(ctx context.Context, kv *flotilla.KV, full *fullWatcher, random *rand.Rand, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(20+random.IntN(150)) * time.Millisecond):
		}
		seen := full.seen()
		if seen < 50 {
			continue
		}
		err := kv.Compact(ctx, seen-uint64(random.IntN(50)))
		if err != nil && !errors.As(err, new(*flotilla.CompactedError)) {
			full.fail(err)
			return
		}
	}
}
