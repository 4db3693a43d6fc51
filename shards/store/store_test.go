package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

// How long a condition may take that background work brings about.
const (
	waitMax  = 30 * time.Second
	waitTick = 5 * time.Millisecond
)

// testConfig is a small store on files.
func testConfig(files vfs.FS) Config {
	return Config{Dir: "data", FS: files, CacheBytes: 1 << 20, MemTableBytes: memTableBytesMin}
}

// openStore opens a store and closes it when the test ends.
func openStore(tb testing.TB, cfg Config) *Store {
	tb.Helper()
	s, err := Open(cfg)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		if !tb.Failed() { // else views may be open, for which Close would wait
			require.NoError(tb, s.Close())
		}
	})
	return s
}

// commit applies f to a shard as one batch.
func commit(tb testing.TB, sh *Shard, f func(b *Batch)) {
	tb.Helper()
	b := sh.NewBatch()
	f(b)
	require.NoError(tb, b.Commit())
	require.NoError(tb, b.Close())
}

func putVersion(tb testing.TB, b *Batch, key string, rev mvcc.Revision, value string) {
	tb.Helper()
	require.NoError(tb, b.Namespace(1).PutVersion([]byte(key), rev, []byte(value)))
}

// setApplied sets the row that tells which batch was the last, as R1 does.
func setApplied(tb testing.TB, b *Batch, index int) {
	tb.Helper()
	require.NoError(tb, b.SetRow(machine.TableState, 0, []byte("applied"), fmt.Appendf(nil, "%d", index)))
}
