package watch_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/mvcc/mvcctest"
	"github.com/flotillakv/flotilla/shards/watch"
)

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Idle watches take little memory, and a namespace that nobody watches takes
// none. The test is not parallel, because it measures the whole process.
//
//nolint:paralleltest // see above
func TestIdleWatchesTakeLittleMemory(t *testing.T) {
	const watches, streams = 10_000, 4
	s := newShard(t, watch.Config{})
	before := heapBytes()
	clients := make([]*watch.Stream, streams)
	for i := range clients {
		clients[i] = watch.NewStream(watch.StreamConfig{})
	}
	for i := range watches {
		spec := prefixSpec(fmt.Sprintf("service/%05d/", i))
		require.NoError(t, clients[i%streams].Create(s.hub, watch.Owner{Tenant: "t", Namespace: testNamespace}, spec))
	}
	for _, c := range clients {
		for told := 0; told < watches/streams; {
			answers, err := c.Next(t.Context(), nil)
			require.NoError(t, err)
			told += len(answers)
		}
	}
	each := (heapBytes() - before) / watches
	t.Logf("%d bytes a watch", each)
	require.Less(t, each, uint64(1500))
	require.Equal(t, watches, s.accounts.Watches())
	for _, c := range clients {
		c.Close()
	}
	require.Zero(t, s.accounts.Watches())
	require.Less(t, heapBytes(), before+watches*50, "what the watches took is given back")
}

// A caller that takes nothing holds no more than its bound, whatever happens.
func TestACallerThatTakesNothingHoldsNoMoreThanItsBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{WatchBytesMax: 10_000, TenantBytesMax: 15_000})
		c := newClient(t, s, watch.StreamConfig{})
		for range 5 {
			c.create(prefixSpec(""))
		}
		most := int64(0)
		for i := range 1000 {
			s.put(fmt.Sprint("k", i), "some value")
			synctest.Wait()
			most = max(most, s.accounts.WaitingBytes())
		}
		require.LessOrEqual(t, most, int64(15_500))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		counts := map[int64]int{}
		for len(counts) < 5 || counts[5] < 1000 {
			answers, err := c.Next(ctx, nil)
			require.NoError(t, err)
			for _, a := range answers {
				counts[a.WatchID] += len(a.Events)
			}
		}
		require.Equal(t, map[int64]int{1: 1000, 2: 1000, 3: 1000, 4: 1000, 5: 1000}, counts)
	})
}

// BenchmarkPublish is what a put costs the apply goroutine and the workers, with
// no watch, with one that sees it, and with thousands that do not.
func BenchmarkPublish(b *testing.B) {
	for _, test := range []struct {
		name    string
		watches int
		hits    bool
	}{{"nobody watches", 0, false}, {"one watch", 1, true}, {"10000 other watches", 10_000, false}} {
		b.Run(test.name, func(b *testing.B) {
			s := newShard(b, watch.Config{})
			stream := watch.NewStream(watch.StreamConfig{})
			defer stream.Close()
			for i := range test.watches {
				spec := prefixSpec(fmt.Sprintf("other/%05d/", i))
				if test.hits {
					spec = prefixSpec("")
				}
				require.NoError(b, stream.Create(s.hub, watch.Owner{Tenant: "t", Namespace: testNamespace}, spec))
			}
			if test.watches > 0 {
				ctx, cancel := context.WithCancel(b.Context())
				defer cancel()
				go func() {
					var answers []watch.Answer
					for ctx.Err() == nil {
						answers, _ = stream.Next(ctx, answers[:0])
					}
				}()
			}
			i := 0
			for b.Loop() {
				if i%10_000 == 9999 {
					b.StopTimer() // the store in memory is not what is measured
					s.mu.Lock()
					s.store = mvcctest.NewStore()
					s.mu.Unlock()
					b.StartTimer()
				}
				s.put(fmt.Sprintf("k%d", i%10_000), "value")
				i++
			}
		})
	}
}

// BenchmarkFanOut is one put that a thousand watches see, on ten streams, up to
// the hands of those who would send it.
func BenchmarkFanOut(b *testing.B) {
	const watches, streams = 1000, 10
	s := newShard(b, watch.Config{})
	var seen sync.WaitGroup
	for range streams {
		stream := watch.NewStream(watch.StreamConfig{})
		defer stream.Close()
		for range watches / streams {
			require.NoError(b, stream.Create(s.hub, watch.Owner{Tenant: "t", Namespace: testNamespace}, prefixSpec("")))
		}
		seen.Go(func() {
			var answers []watch.Answer
			for left := watches / streams * (b.N + 1); left > 0; {
				var err error
				if answers, err = stream.Next(b.Context(), answers[:0]); err != nil {
					return
				}
				for _, a := range answers {
					left -= len(a.Events)
				}
			}
		})
	}
	b.ResetTimer()
	for i := range b.N + 1 {
		s.put(fmt.Sprint("k", i%100), "value")
	}
	seen.Wait()
	b.ReportMetric(float64(b.N+1)*watches/b.Elapsed().Seconds(), "events/s")
}
