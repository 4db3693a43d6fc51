package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/machine"
)

// crash is the files as a crash at this moment may leave them.
func crash(files *vfs.MemFS, random *rand.Rand) *vfs.MemFS {
	return files.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random})
}

// commitNumbered commits batch number index: it says so, adds a row, and
// writes a row that every batch writes.
func commitNumbered(tb testing.TB, sh *Shard, index int) {
	tb.Helper()
	commit(tb, sh, func(b *Batch) {
		require.NoError(tb, b.SetRow(machine.TableAges, 1, fmt.Appendf(nil, "%06d", index), bytes.Repeat([]byte("v"), 2000)))
		setApplied(tb, b, index)
		require.NoError(tb, b.SetRow(machine.TableAges, 2, nil, strconv.AppendInt(nil, int64(index), 10)))
	})
}

// appliedIn returns which batch was the last, and checks that the shard has
// that batch and all before it whole, and nothing of later ones (S1).
func appliedIn(tb testing.TB, sh *Shard) int {
	tb.Helper()
	view := sh.NewView()
	defer func() { require.NoError(tb, view.Close()) }()
	value, ok, err := view.Row(machine.TableState, 0, []byte("applied"))
	require.NoError(tb, err)
	applied := 0
	if ok {
		applied, err = strconv.Atoi(string(value))
		require.NoError(tb, err)
		value, _, err = view.Row(machine.TableAges, 2, nil)
		require.NoError(tb, err)
		require.Equal(tb, strconv.Itoa(applied), string(value), "a torn batch")
	}
	it, rows := view.Rows(machine.TableAges, 1, nil, nil), 0
	for it.Next() {
		rows++
		require.Equal(tb, fmt.Sprintf("%06d", rows), string(it.Key()))
	}
	require.NoError(tb, it.Close())
	require.Equal(tb, applied, rows, "batches lost or kept out of order")
	return applied
}

// Goal: after a crash each shard is as some batch left it, not before the last
// flush. Method: two shards write in turn, more than the memtable holds, so
// Pebble flushes by itself too; crashes are tried all along.
func TestCrashLeavesAWholePrefix(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 14))
	files := vfs.NewCrashableMem()
	s := openStore(t, testConfig(files))
	shards := []*Shard{s.Shard(1), s.Shard(2)}
	var written, durable [2]int
	lost := 0
	for range 600 {
		i := random.IntN(2)
		written[i]++
		commitNumbered(t, shards[i], written[i])
		switch random.IntN(30) {
		case 0:
			require.NoError(t, shards[i].Flush())
			durable = written
		case 1:
			after := openStore(t, testConfig(crash(files, random)))
			for i := range shards {
				applied := appliedIn(t, after.Shard(shards[i].id))
				require.GreaterOrEqual(t, applied, durable[i])
				require.LessOrEqual(t, applied, written[i])
				lost += written[i] - applied
			}
			require.NoError(t, after.Close())
		}
	}
	require.Positive(t, lost, "no crash lost anything: the test tests nothing")
}

// A crash right after a clean close loses nothing.
func TestCloseFlushes(t *testing.T) {
	t.Parallel()
	files := vfs.NewCrashableMem()
	s := openStore(t, testConfig(files))
	commitNumbered(t, s.Shard(1), 1)
	require.NoError(t, s.Close())
	after := openStore(t, testConfig(files.CrashClone(vfs.CrashCloneCfg{})))
	require.Equal(t, 1, appliedIn(t, after.Shard(1)))
}

// Goal: a crash around Restore leaves the shard with its old state or its new
// one, whatever was in memory; after Restore, with the new one. The
// neighbour's state is untouched. Method: the files are cloned before each of
// the operations that Restore makes, and each clone is opened.
func TestCrashAroundRestore(t *testing.T) {
	t.Parallel()
	from := openStore(t, testConfig(vfs.NewMem()))
	fill(t, from.Shard(5), 500, strings.Repeat("new", 100))
	stream, want := streamOf(t, from.Shard(5)), hashOf(t, from.Shard(5))

	for name, test := range map[string]struct{ flush, destroy bool }{
		"restore over files":    {flush: true},
		"restore over memtable": {},
		"destroy files":         {flush: true, destroy: true},
		"destroy memtable":      {destroy: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := want
			random := rand.New(rand.NewPCG(1, 4))
			files := vfs.NewCrashableMem()
			var mu sync.Mutex // Pebble's background work writes too
			var clones []*vfs.MemFS
			recording := false
			cfg := testConfig(errorfs.Wrap(files, errorfs.InjectorFunc(func(op errorfs.Op) error {
				mu.Lock()
				defer mu.Unlock()
				if recording && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
					clones = append(clones, files.CrashClone(vfs.CrashCloneCfg{}), crash(files, random))
				}
				return nil
			})))
			s := openStore(t, cfg)
			s.tableBytes = 16 << 10
			sh, neighbour := s.Shard(2), s.Shard(3)
			commitNumbered(t, neighbour, 1)
			commitNumbered(t, sh, 1)
			require.NoError(t, sh.Flush())
			commitNumbered(t, neighbour, 2)
			commitNumbered(t, sh, 2)
			if test.flush {
				require.NoError(t, sh.Flush())
			}
			mu.Lock()
			recording = true
			mu.Unlock()
			if test.destroy {
				require.NoError(t, sh.Destroy())
				want = hashOf(t, s.Shard(99))
			} else {
				require.NoError(t, sh.Restore(bytes.NewReader(stream), nil))
			}
			mu.Lock()
			recording = false
			mu.Unlock()
			require.Equal(t, want, hashOf(t, sh))
			clones = append(clones, files.CrashClone(vfs.CrashCloneCfg{}))

			olds, news := 0, 0
			for i, clone := range clones {
				after := openStore(t, testConfig(clone))
				requireNoLeftovers(t, clone)
				require.GreaterOrEqual(t, appliedIn(t, after.Shard(3)), 1)
				if hashOf(t, after.Shard(2)) == want {
					news++
				} else {
					olds++
					require.Less(t, i, len(clones)-1, "Restore returned before it was durable")
					require.GreaterOrEqual(t, appliedIn(t, after.Shard(2)), 1)
				}
				require.NoError(t, after.Close())
			}
			require.Positive(t, olds)
			require.Positive(t, news)
		})
	}
}

var errInjected = errors.New("injected")

// faults make writes to files fail whose path has a part, while it is set.
type faults struct{ part atomic.Pointer[string] }

func (f *faults) on(part string) { f.part.Store(&part) }
func (f *faults) off()           { f.part.Store(nil) }

func (f *faults) String() string { return "faults" }

func (f *faults) MaybeError(op errorfs.Op) error {
	if part := f.part.Load(); part != nil && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.Contains(op.Path, *part) {
		return errInjected
	}
	return nil
}

func faultyStore(t *testing.T) (s *Store, files *vfs.MemFS, f *faults, fatal chan error) {
	t.Helper()
	files, f, fatal = vfs.NewCrashableMem(), &faults{}, make(chan error, 1)
	cfg := testConfig(errorfs.Wrap(files, f))
	cfg.OnFatal = func(err error) { fatal <- err }
	s, err := Open(cfg)
	require.NoError(t, err)
	return s, files, f, fatal
}

// A flush that fails tells its callers, the data is still there, and once the
// disk works again it can be flushed.
func TestFlushFailureIsTold(t *testing.T) {
	t.Parallel()
	s, files, faults, _ := faultyStore(t)
	sh := s.Shard(1)
	commitNumbered(t, sh, 1)
	faults.on(".sst")
	require.ErrorIs(t, s.Flush(t.Context()), errInjected)
	require.ErrorIs(t, sh.Destroy(), errInjected)
	require.Positive(t, s.Metrics().FlushFailures)
	require.Equal(t, 1, appliedIn(t, sh))
	faults.off()
	require.Eventually(t, func() bool { return s.Flush(t.Context()) == nil }, waitMax, waitTick)
	after := openStore(t, testConfig(files.CrashClone(vfs.CrashCloneCfg{})))
	require.Equal(t, 1, appliedIn(t, after.Shard(1)))
	require.NoError(t, s.Close())
}

// A restore that cannot write its tables leaves the old state, and nothing
// else.
func TestRestoreFailureLeavesTheOldState(t *testing.T) {
	t.Parallel()
	from := openStore(t, testConfig(vfs.NewMem()))
	fill(t, from.Shard(1), 100, strings.Repeat("new", 100))
	stream := streamOf(t, from.Shard(1))
	s, files, faults, _ := faultyStore(t)
	commitNumbered(t, s.Shard(1), 1)
	require.NoError(t, s.Flush(t.Context()))
	faults.on("incoming")
	require.ErrorIs(t, s.Shard(1).Restore(bytes.NewReader(stream), nil), errInjected)
	faults.off()
	require.Equal(t, 1, appliedIn(t, s.Shard(1)))
	requireNoLeftovers(t, files)
	require.NoError(t, s.Shard(1).Restore(bytes.NewReader(stream), nil))
	require.Equal(t, hashOf(t, from.Shard(1)), hashOf(t, s.Shard(1)))
	require.NoError(t, s.Close())
}

// When the manifest cannot be written the owner is told, and so is everybody
// who asks from then on. The store is abandoned: Pebble holds its locks.
func TestFatalErrorReachesTheOwner(t *testing.T) {
	t.Parallel()
	s, files, faults, fatal := faultyStore(t)
	commitNumbered(t, s.Shard(1), 1)
	require.NoError(t, s.Flush(t.Context()))
	commitNumbered(t, s.Shard(1), 2)
	faults.on("MANIFEST")
	var want *FatalError
	require.ErrorAs(t, s.Flush(t.Context()), &want)
	require.ErrorAs(t, <-fatal, &want)
	require.ErrorAs(t, s.Flush(t.Context()), &want)
	require.ErrorAs(t, s.Close(), &want)

	after := openStore(t, testConfig(files.CrashClone(vfs.CrashCloneCfg{})))
	require.Equal(t, 1, appliedIn(t, after.Shard(1)))
}
