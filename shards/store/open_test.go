package store

import (
	"context"
	"encoding/binary"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/machine"
)

func TestReopenKeepsTheData(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: t.TempDir() + "/new/data"} // on disk
	s := openStore(t, cfg)
	fill(t, s.Shard(1), 100, "value")
	want := hashOf(t, s.Shard(1))
	require.NoError(t, s.Close())
	require.NoError(t, s.Close()) // safe to call twice
	s = openStore(t, cfg)
	require.Equal(t, want, hashOf(t, s.Shard(1)))
}

func TestOpenRefusesADirectoryInUse(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{"disk": {Dir: t.TempDir()}, "memory": testConfig(vfs.NewMem())} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			openStore(t, cfg)
			_, err := Open(cfg)
			var inUse *InUseError
			require.ErrorAs(t, err, &inUse)
			require.Equal(t, cfg.Dir, inUse.Dir)
		})
	}
}

// writeDatabase makes a database as another program, or another version of
// this one, would.
func writeDatabase(t *testing.T, files vfs.FS, format pebble.FormatMajorVersion, key, value []byte) {
	t.Helper()
	db, err := pebble.Open("data/db", &pebble.Options{FS: files, Comparer: newComparer(), FormatMajorVersion: format})
	require.NoError(t, err)
	require.NoError(t, db.Set(key, value, pebble.Sync))
	require.NoError(t, db.Close())
}

func TestOpenRefusesANewerFormat(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pebbles pebble.FormatMajorVersion
		ours    uint32
		want    NewerFormatError
	}{
		"ours": {
			formatPebble, formatVersion + 1,
			NewerFormatError{What: "data directory", Stored: formatVersion + 1, Supported: formatVersion},
		},
		"Pebble's": {
			pebble.FormatNewest, formatVersion,
			NewerFormatError{
				What:      "database in the data directory",
				Stored:    uint32(pebble.FormatNewest),
				Supported: uint32(formatPebble),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := vfs.NewMem()
			writeDatabase(t, files, test.pebbles, formatKey(), binary.BigEndian.AppendUint32(nil, test.ours))
			for range 2 { // and lets go of the lock
				_, err := Open(testConfig(files))
				var newer *NewerFormatError
				require.ErrorAs(t, err, &newer)
				require.Equal(t, test.want, *newer)
			}
		})
	}
}

func TestOpenRefusesAForeignDatabase(t *testing.T) {
	t.Parallel()
	files := vfs.NewMem()
	writeDatabase(t, files, formatPebble, []byte("key\x00"), nil)
	_, err := Open(testConfig(files))
	require.ErrorContains(t, err, "not a store of this program")
}

func TestConfigReportsAllThatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := Open(Config{CacheBytes: -1, MemTableBytes: 1, SnapshotBytesPerSecond: -1})
	for _, part := range []string{"directory", "cache", "memtable", "snapshot rate"} {
		require.ErrorContains(t, err, part)
	}
}

func TestClosedStoreAnswersErrClosed(t *testing.T) {
	t.Parallel()
	s, err := Open(testConfig(vfs.NewMem()))
	require.NoError(t, err)
	sh := s.Shard(1)
	require.NoError(t, s.Close())

	view := sh.NewView()
	_, _, _, err = view.Namespace(1).Version([]byte("a"), 1)
	require.ErrorIs(t, err, ErrClosed)
	_, _, err = view.Row(machine.TableState, 0, nil)
	require.ErrorIs(t, err, ErrClosed)
	rows := view.Rows(machine.TableState, 0, nil, nil)
	require.False(t, rows.Next())
	require.ErrorIs(t, rows.Close(), ErrClosed)
	require.NoError(t, view.Close())

	b := sh.NewBatch()
	require.ErrorIs(t, b.SetRow(machine.TableState, 0, nil, nil), ErrClosed)
	require.ErrorIs(t, b.DeleteRow(machine.TableState, 0, nil), ErrClosed)
	require.ErrorIs(t, b.Namespace(1).PutVersion(nil, 1, nil), ErrClosed)
	require.ErrorIs(t, b.Namespace(1).DeleteEvent(1, 1), ErrClosed)
	_, _, _, err = b.Namespace(1).Version(nil, 1)
	require.ErrorIs(t, err, ErrClosed)
	events := b.Namespace(1).Events(1)
	require.False(t, events.Next())
	require.ErrorIs(t, events.Close(), ErrClosed)
	require.ErrorIs(t, b.Commit(), ErrClosed)
	require.NoError(t, b.Close())

	require.ErrorIs(t, s.Flush(context.Background()), ErrClosed)
	require.ErrorIs(t, sh.Flush(), ErrClosed)
	require.ErrorIs(t, sh.Destroy(), ErrClosed)
	require.ErrorIs(t, sh.Restore(nil, nil), ErrClosed)
	require.ErrorIs(t, sh.Snapshot().WriteTo(nil, nil), ErrClosed)
	_, err = sh.Hash()
	require.ErrorIs(t, err, ErrClosed)
	require.Zero(t, s.Metrics())
}

func TestInvalidShardStoresNothing(t *testing.T) {
	t.Parallel()
	s := openStore(t, testConfig(vfs.NewMem()))
	fill(t, s.Shard(MaxShardID), 1, "value")
	for _, id := range []uint64{0, MaxShardID + 1, 1 << 40} {
		sh := s.Shard(id)
		var invalid *InvalidShardError
		b := sh.NewBatch()
		require.ErrorAs(t, b.SetRow(machine.TableState, 0, nil, nil), &invalid)
		require.ErrorAs(t, b.Commit(), &invalid)
		require.NoError(t, b.Close())
		require.ErrorAs(t, sh.Destroy(), &invalid)
		require.ErrorAs(t, sh.Restore(nil, nil), &invalid)
		require.ErrorAs(t, sh.Snapshot().WriteTo(nil, nil), &invalid)
		require.Equal(t, hashOf(t, s.Shard(1)), hashOf(t, sh), "it is as empty as a shard that is")
	}
}

func TestMetricsCount(t *testing.T) {
	t.Parallel()
	s := openStore(t, testConfig(vfs.NewMem()))
	before := s.Metrics()
	fill(t, s.Shard(1), 1000, "value")
	require.NoError(t, s.Flush(t.Context()))
	after := s.Metrics()
	require.Greater(t, after.Flushes, before.Flushes)
	require.Greater(t, after.DiskBytes, before.DiskBytes)
	require.Greater(t, after.FlushedBytes, before.FlushedBytes)
	require.Positive(t, after.MemTableBytes)
	require.Positive(t, after.ReadAmplification)
}
