package store

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/mvcc"
)

const (
	benchKeys  = 1_000_000
	benchValue = 256
)

func benchKey(dst []byte, n uint64) []byte {
	dst = append(dst, "/registry/pods/"...)
	return binary.BigEndian.AppendUint64(dst, n*0x9e3779b97f4a7c15)
}

// benchStore is a store on disk with benchKeys keys.
func benchStore(b *testing.B, keys uint64) *Shard {
	b.Helper()
	s := openStore(b, Config{Dir: b.TempDir()})
	sh := s.Shard(1)
	value := encodedPut(make([]byte, benchValue))
	for n := uint64(0); n < keys; {
		commit(b, sh, func(batch *Batch) {
			for range 4000 {
				benchPut(b, batch.Namespace(1), n, mvcc.Revision(n+2), value)
				n++
			}
		})
	}
	require.NoError(b, s.Flush(b.Context()))
	return sh
}

// benchPut does what applying a put does.
func benchPut(b *testing.B, ns mvcc.Writer, n uint64, rev mvcc.Revision, value []byte) {
	b.Helper()
	var buf [64]byte
	key := benchKey(buf[:0], n)
	if _, err := ns.Head(key); err != nil {
		b.Fatal(err)
	}
	if err := ns.PutVersion(key, rev, value); err != nil {
		b.Fatal(err)
	}
	if err := ns.PutEvent(rev, 0, key); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPut is the apply path: a lookup, a version and an event, and its
// share of a commit of 2000 puts.
func BenchmarkPut(b *testing.B) {
	for _, test := range []struct {
		name      string
		overwrite bool
		ranges    bool
	}{{name: "new"}, {name: "overwrite", overwrite: true}, {name: "indexed", overwrite: true, ranges: true}} {
		b.Run(test.name, func(b *testing.B) {
			sh := benchStore(b, benchKeys)
			random := rand.New(rand.NewPCG(1, 2))
			value := make([]byte, benchValue)
			for i := range value {
				value[i] = byte(random.Uint32())
			}
			value = encodedPut(value)
			rev := mvcc.Revision(10 * benchKeys)
			b.ResetTimer()
			for done := 0; done < b.N; {
				batch := sh.NewBatch()
				for range 2000 {
					n := uint64(rev)
					if test.overwrite {
						n = random.Uint64N(benchKeys)
					}
					benchPut(b, batch.Namespace(1), n, rev, value)
					rev++
					if done++; done >= b.N {
						break
					}
					if test.ranges && !batch.indexed {
						require.NoError(b, batch.index())
					}
				}
				require.NoError(b, batch.Commit())
				require.NoError(b, batch.Close())
			}
		})
	}
}

// BenchmarkGet reads random keys, thousands to a view.
func BenchmarkGet(b *testing.B) {
	sh := benchStore(b, benchKeys)
	random := rand.New(rand.NewPCG(1, 2))
	var buf [64]byte
	b.ResetTimer()
	for done := 0; done < b.N; {
		view := sh.NewView()
		ns := view.Namespace(1)
		for range 1000 {
			key := benchKey(buf[:0], random.Uint64N(benchKeys))
			_, _, ok, err := ns.Version(key, 1<<40)
			if err != nil || !ok {
				b.Fatal(ok, err)
			}
			if done++; done >= b.N {
				break
			}
		}
		require.NoError(b, view.Close())
	}
}

// BenchmarkView opens and closes views with one lookup each.
func BenchmarkView(b *testing.B) {
	sh := benchStore(b, 100_000)
	var buf [64]byte
	for b.Loop() {
		view := sh.NewView()
		if _, _, _, err := view.Namespace(1).Version(benchKey(buf[:0], 5), 1<<40); err != nil {
			b.Fatal(err)
		}
		require.NoError(b, view.Close())
	}
}

// BenchmarkRange reads 100 keys in order.
func BenchmarkRange(b *testing.B) {
	for name, descending := range map[string]bool{"ascending": false, "descending": true} {
		b.Run(name, func(b *testing.B) {
			sh := benchStore(b, benchKeys)
			random := rand.New(rand.NewPCG(1, 2))
			view := sh.NewView()
			var buf [64]byte
			b.ResetTimer()
			for range b.N {
				start, end := benchKey(buf[:0], random.Uint64N(benchKeys)), []byte(nil)
				if descending {
					start, end = end, start
				}
				it := view.Namespace(1).Versions(start, end, 1<<40, descending)
				for n := 0; n < 100 && it.Next(); n++ {
					if _, err := it.Value(); err != nil {
						b.Fatal(err)
					}
				}
				require.NoError(b, it.Close())
			}
			require.NoError(b, view.Close())
		})
	}
}
