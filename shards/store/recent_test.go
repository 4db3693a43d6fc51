package store

import (
	"strconv"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/machine"
)

// Goal: a view's lookups, which may skip the memtables, see what its scans
// see. Method: a row is counted up while flushes come and go and views read it
// both ways.
func TestLookupsSeeWhatScansSee(t *testing.T) {
	t.Parallel()
	s := openStore(t, testConfig(vfs.NewMem()))
	sh := s.Shard(1)
	const rounds = 3000
	stop := make(chan struct{})
	var background sync.WaitGroup
	background.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = s.Flush(t.Context())
			}
		}
	})
	background.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				b := sh.NewBatch()
				_ = b.SetRow(machine.TableAges, 1, nil, strconv.AppendInt(nil, int64(i), 10))
				_ = b.Commit()
				_ = b.Close()
			}
		}
	})
	last := -1
	for range rounds {
		view := sh.NewView()
		value, found, err := view.Row(machine.TableAges, 1, nil)
		require.NoError(t, err)
		looked := string(value)
		scan := view.Rows(machine.TableAges, 1, nil, nil)
		require.Equal(t, found, scan.Next())
		if found {
			value, err = scan.Value()
			require.NoError(t, err)
			require.Equal(t, string(value), looked)
			now, err := strconv.Atoi(looked)
			require.NoError(t, err)
			require.GreaterOrEqual(t, now, last, "a later view is of an earlier state")
			last = now
		}
		require.NoError(t, scan.Close())
		require.NoError(t, view.Close())
	}
	close(stop)
	background.Wait()
}

// A flush must not begin between a commit's noting its keys and its taking
// effect: it would drop the keys without having written the rows.
func TestSealingWaitsForCommits(t *testing.T) {
	t.Parallel()
	r := newRecents(memTableBytesMin)
	entries := []overlayEntry{{hash: 12345}}
	_, err := r.commit(entries, nil, 1, func() error {
		require.True(t, (*r.generations.Load())[0].has(12345), "noted before it is committed")
		require.False(t, r.committing.TryLock(), "seal would not wait")
		return nil
	})
	require.NoError(t, err)
	r.seal()
	require.Len(t, *r.generations.Load(), 2)
	r.dropSealed()
	require.False(t, (*r.generations.Load())[0].has(12345))
}

func TestLookupsPinTheGenerationsOfTheirState(t *testing.T) {
	t.Parallel()
	s := openStore(t, testConfig(vfs.NewMem()))
	opened := 0
	l, err := s.recents.lookups(func() (*pebble.Iterator, error) {
		if opened++; opened == 1 {
			s.recents.seal() // and a commit may follow that the iterator sees
		}
		return s.db.NewIter(nil)
	})
	require.NoError(t, err)
	require.Equal(t, 2, opened)
	require.Equal(t, *s.recents.generations.Load(), l.recent)
	require.NoError(t, l.close())
}

func TestRecentKeysFindsWhatWasAdded(t *testing.T) {
	t.Parallel()
	r := newRecents(memTableBytesMin)
	keys, wrong := newRecentKeys(r.keysBytes), 0
	const n = 2000 // rows of 130 bytes
	for i := range n {
		keys.add(r.hash(strconv.AppendInt(nil, int64(i), 10)))
	}
	for i := range n {
		require.True(t, keys.has(r.hash(strconv.AppendInt(nil, int64(i), 10))))
		if keys.has(r.hash(strconv.AppendInt(nil, int64(n+i), 10))) {
			wrong++
		}
	}
	require.Less(t, wrong, n/20)
}
