package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// fillNamespace writes rows of each kind.
func fillNamespace(tb testing.TB, sh *Shard, ns tenancy.NamespaceID, n int) {
	tb.Helper()
	commit(tb, sh, func(b *Batch) {
		for i := range n {
			key, rev := fmt.Appendf(nil, "key%05d", i), mvcc.Revision(i+2)
			require.NoError(tb, b.Namespace(ns).PutVersion(key, rev, []byte(strings.Repeat("v", 500))))
			require.NoError(tb, b.Namespace(ns).PutEvent(rev, 0, key))
			require.NoError(tb, b.SetRow(machine.TableLeaseKeys, ns, key, nil))
		}
		require.NoError(tb, b.SetRow(machine.TableState, ns, nil, []byte("state")))
	})
}

// Goal: a dropped namespace leaves its state and nothing else, at once and over a
// crash, in snapshots too, and its neighbours are as if it had never been. Method:
// hashes of a shard that had it and of one that did not.
func TestDroppedNamespaceLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, flushed := range map[string]bool{"in memory": false, "in tables": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := vfs.NewCrashableMem()
			s := openStore(t, testConfig(files))
			had, had3, never := s.Shard(1), s.Shard(2), s.Shard(3)
			for _, sh := range []*Shard{had, had3, never} {
				fillNamespace(t, sh, 6, 20)
				fillNamespace(t, sh, 8, 20)
				if sh != never {
					fillNamespace(t, sh, 7, 3000)
				}
			}
			if flushed {
				require.NoError(t, had.Flush())
			}
			commit(t, had, func(b *Batch) { require.NoError(t, b.DropNamespace(7)) })
			commit(t, never, func(b *Batch) {
				require.NoError(t, b.SetRow(machine.TableState, 7, nil, []byte("state")))
			})
			require.Equal(t, hashOf(t, never), hashOf(t, had))
			require.NotEqual(t, hashOf(t, had3), hashOf(t, had), "another shard's namespace of that number is another one")

			stream := streamOf(t, had)
			require.NoError(t, s.Shard(4).Restore(bytes.NewReader(stream), nil))
			require.Equal(t, hashOf(t, never), hashOf(t, s.Shard(4)))
			require.Less(t, len(stream), 100<<10)

			require.NoError(t, had.Flush())
			again := openStore(t, testConfig(crash(files, rand.New(rand.NewPCG(1, 2)))))
			require.Equal(t, hashOf(t, never), hashOf(t, again.Shard(1)))
			require.NoError(t, again.db.Compact(t.Context(), had.lower, had.upper, false))
			usage, err := again.db.EstimateDiskUsage(had.lower, had.upper)
			require.NoError(t, err)
			require.Less(t, usage, uint64(100<<10), "the space is free")
		})
	}
}
