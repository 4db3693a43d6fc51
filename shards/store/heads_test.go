package store

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/flotillakv/flotilla/shards/mvcc"
)

// Whatever is written, removed, given up and replaced, a head is that of the
// newest version. All keys are in few buckets, so that they drive each other
// out.
func TestHeadsAreThoseOfTheNewestVersions(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		s, err := Open(testConfig(vfs.NewMem()))
		require.NoError(r, err)
		s.heads.buckets = make([]headBucket, 2)
		s.heads.bucketsMax = rapid.SampledFrom([]int{2, 16}).Draw(r, "buckets")
		sh := s.Shard(1)
		rev := mvcc.Revision(1)
		stored := map[string][]mvcc.Revision{} // of each key, committed
		for range rapid.IntRange(1, 8).Draw(r, "batches") {
			b := sh.NewBatch()
			ns := b.Namespace(1)
			pending := map[string][]mvcc.Revision{}
			for key, revs := range stored {
				pending[key] = append([]mvcc.Revision(nil), revs...)
			}
			for range rapid.IntRange(1, 20).Draw(r, "operations") {
				key := fmt.Sprint("key", rapid.IntRange(0, 40).Draw(r, "key"))
				switch kind := rapid.SampledFrom([]string{"put", "put", "put", "delete", "purge newest"}).Draw(r, "kind"); {
				case kind == "put":
					rev++
					value := rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(r, "value")
					require.NoError(r, ns.PutVersion([]byte(key), rev, encodedPut(value)))
					pending[key] = append(pending[key], rev)
				case kind == "delete":
					rev++
					require.NoError(r, ns.PutVersion([]byte(key), rev, []byte{tombstoneKind}))
					pending[key] = append(pending[key], rev)
				case len(pending[key]) > 0:
					last := len(pending[key]) - 1
					require.NoError(r, ns.DeleteVersion([]byte(key), pending[key][last]))
					pending[key] = pending[key][:last]
				}
				requireHead(r, ns, key)
			}
			switch rapid.SampledFrom([]string{"commit", "commit", "give up"}).Draw(r, "end") {
			case "commit":
				require.NoError(r, b.Commit())
				stored = pending
			case "give up":
			}
			require.NoError(r, b.Close())
			check := sh.NewBatch()
			for key := range pending {
				requireHead(r, check.Namespace(1), key)
			}
			require.NoError(r, check.Close())
		}
		require.NoError(r, sh.Destroy())
		b := sh.NewBatch()
		for key := range stored {
			head, err := b.Namespace(1).Head([]byte(key))
			require.NoError(r, err)
			require.Zero(r, head, "of a shard that was destroyed")
		}
		require.NoError(r, b.Close())
		require.NoError(r, s.Close())
	})
}

// A batch that is given up leaves nothing behind, though batches of other
// shards take its memory as soon as it is free.
func TestHeadsOfABatchThatIsGivenUp(t *testing.T) {
	t.Parallel()
	cfg := testConfig(vfs.NewMem())
	cfg.HeadBytes = 16 << 20
	s := openStore(t, cfg)
	ctx, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	for shard := range uint64(3) {
		others.Go(func() {
			for ctx.Err() == nil {
				b := s.Shard(2 + shard).NewBatch()
				for i := range 5000 {
					if err := b.Namespace(1).PutVersion(fmt.Appendf(nil, "other-%d", i), 2, encodedPut(nil)); err != nil {
						t.Errorf("put: %v", err)
					}
				}
				if err := b.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			}
		})
	}
	sh := s.Shard(1)
	const keys = 20_000
	for range 5 {
		b := sh.NewBatch()
		for i := range keys {
			require.NoError(t, b.Namespace(1).PutVersion(fmt.Appendf(nil, "key-%d", i), 2, encodedPut(nil)))
		}
		require.NoError(t, b.Close())
		b = sh.NewBatch()
		for i := range keys {
			head, err := b.Namespace(1).Head(fmt.Appendf(nil, "key-%d", i))
			require.NoError(t, err)
			require.Zero(t, head)
		}
		require.NoError(t, b.Close())
	}
	stop()
	others.Wait()
}

// A put of a key that is known reads nothing from storage.
func TestHeadOfAKnownKeyReadsNothing(t *testing.T) {
	t.Parallel()
	s := openStore(t, testConfig(vfs.NewMem()))
	sh := s.Shard(1)
	commit(t, sh, func(b *Batch) {
		require.NoError(t, b.Namespace(1).PutVersion([]byte("k"), 7, encodedPut([]byte("value"))))
	})
	b := sh.NewBatch()
	defer func() { require.NoError(t, b.Close()) }()
	head, err := b.Namespace(1).Head([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, mvcc.Head{Exists: true, ModRevision: 7, CreateRevision: 3, Version: 2, Lease: -4, ValueBytes: 5}, head)
	require.Nil(t, b.committed.all, "no iterator was opened")
}

// The memory grows with the keys and keeps all of them, up to its bound; after
// that it keeps about as many as it has room for.
func TestHeadsGrowUpToTheirBound(t *testing.T) {
	t.Parallel()
	h := newHeads(1 << 20)
	require.Len(t, h.buckets, headBucketsMin)
	key := func(i int) headKey {
		name := fmt.Appendf(nil, "key-%d", i)
		return h.key(name, uint64(i))
	}
	room := h.bucketsMax * headWays
	for i := range 4 * room {
		h.keep(key(i), mvcc.Head{Exists: true, ModRevision: mvcc.Revision(i + 2), CreateRevision: 2, Version: 1})
		if i+1 == room/4 {
			known := 0
			for j := range i + 1 {
				if head, ok := h.find(key(j)); ok {
					require.Equal(t, mvcc.Revision(j+2), head.ModRevision)
					known++
				}
			}
			require.Greater(t, known, i*99/100)
		}
	}
	require.Len(t, h.buckets, h.bucketsMax)
	require.LessOrEqual(t, len(h.buckets)*headBucketBytes, 1<<20)
	known, used := 0, 0
	for i := range 4 * room {
		if _, ok := h.find(key(i)); ok {
			known++
		}
	}
	for i := range h.locks {
		used += h.locks[i].used
	}
	require.Greater(t, known, room*99/100)
	require.Equal(t, used, known)
	h.clear()
	_, ok := h.find(key(4*room - 1))
	require.False(t, ok)
}

const tombstoneKind = 2

// encodedPut is a stored version: created at 3, version 2, lease -4.
func encodedPut(value []byte) []byte { return append([]byte{1, 3, 2, 7}, value...) }

func requireHead(t require.TestingT, ns mvcc.Writer, key string) {
	rev, stored, ok, err := ns.Version([]byte(key), math.MaxUint64)
	require.NoError(t, err)
	var expected mvcc.Head
	if ok {
		expected, err = mvcc.HeadOf(rev, stored)
		require.NoError(t, err)
	}
	head, err := ns.Head([]byte(key))
	require.NoError(t, err)
	require.Equal(t, expected, head)
}
