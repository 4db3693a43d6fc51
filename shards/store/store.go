package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A Store is the database of one node, shared by its shards. Safe for
// concurrent use.
type Store struct {
	cfg      Config
	log      *slog.Logger
	opts     *pebble.Options
	db       *pebble.DB
	lock     io.Closer
	flusher  *flusher
	recents  *recents
	heads    *heads
	throttle *throttle

	tableBytes uint64 // of restores; smaller in tests

	batches   sync.Pool // of *batchMemory
	stalls    atomic.Uint64
	restores  atomic.Uint64 // numbers the directories of restores
	fatalOnce sync.Once

	mu sync.RWMutex // guards what follows; see the package's comment on locks
	// closed refuses new users; users counts those that Close waits for.
	closed bool
	users  sync.WaitGroup
	// snapshots are the open ones. Close closes them: who prepared one may
	// never come to use it.
	snapshots map[*Snapshot]struct{}
}

// The data directory:
//
//	LOCK       held while the store is open
//	db/        Pebble's
//	incoming/  tables of snapshots being restored; emptied by Open
const (
	lockName     = "LOCK"
	databaseName = "db"
	incomingName = "incoming"
)

// Open opens the store, or makes a new one. Its errors include *InUseError and
// *NewerFormatError.
func Open(cfg Config) (_ *Store, err error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	limitArenas()
	s := &Store{
		cfg:        cfg,
		log:        cfg.Logger,
		flusher:    newFlusher(),
		recents:    newRecents(cfg.MemTableBytes),
		heads:      newHeads(cfg.HeadBytes),
		throttle:   &throttle{bytesPerSecond: cfg.SnapshotBytesPerSecond},
		tableBytes: tableBytes,
		snapshots:  make(map[*Snapshot]struct{}),
	}
	if err := makeDir(cfg.FS, cfg.Dir); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	if s.lock, err = cfg.FS.Lock(cfg.FS.PathJoin(cfg.Dir, lockName)); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("lock the data directory: %w", err)
		}
		return nil, &InUseError{Dir: cfg.Dir, Err: err}
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the store in %s: %w", cfg.Dir, err), s.lock.Close())
	}
	return s, nil
}

func (s *Store) open() error {
	dir := s.cfg.FS.PathJoin(s.cfg.Dir, databaseName)
	if err := refuseNewer(s.cfg.FS, dir); err != nil {
		return err
	}
	// Left by a crash; what was ingested is in db already.
	if err := s.cfg.FS.RemoveAll(s.cfg.FS.PathJoin(s.cfg.Dir, incomingName)); err != nil {
		return fmt.Errorf("empty the directory of restores: %w", err)
	}
	s.opts = s.options()
	db, err := pebble.Open(dir, s.opts)
	if err != nil {
		return err
	}
	s.db = db
	s.flusher.start = func() (<-chan struct{}, error) {
		s.recents.seal()
		return db.AsyncFlush()
	}
	s.flusher.succeeded = s.recents.dropSealed
	if err := s.checkFormat(); err != nil {
		s.flusher.close()
		return errors.Join(err, db.Close())
	}
	return nil
}

// refuseNewer refuses a database whose files are newer than formatPebble: a
// Pebble that knows the format would open it and go on writing it.
func refuseNewer(files vfs.FS, dir string) error {
	desc, err := pebble.Peek(dir, files)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at the database's format: %w", err)
	case desc.Exists && desc.FormatMajorVersion > formatPebble:
		return &NewerFormatError{
			What:      "database in the data directory",
			Stored:    uint32(desc.FormatMajorVersion),
			Supported: uint32(formatPebble),
		}
	}
	return nil
}

// makeDir makes a directory and its parents, and makes them durable.
func makeDir(files vfs.FS, dir string) error {
	if _, err := files.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := files.PathDir(dir)
	if parent == dir {
		return nil
	}
	if err := makeDir(files, parent); err != nil {
		return err
	}
	if err := files.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return syncDir(files, parent)
}

func syncDir(files vfs.FS, dir string) error {
	f, err := files.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// acquire keeps the store open until release.
func (s *Store) acquire() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	s.users.Add(1)
	return nil
}

func (s *Store) release() { s.users.Done() }

// Close makes everything durable and closes the store, once the open views and
// batches are closed. Calls on it and on its shards then give ErrClosed. An
// error of the flush loses nothing that the Raft log does not have. Safe to
// call twice.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()

	s.users.Wait()
	err := s.flush()
	if _, fatal := errors.AsType[*FatalError](err); fatal {
		return err // Pebble's locks may be held for good
	}
	s.flusher.close()
	for _, sn := range s.openSnapshots() {
		err = errors.Join(err, sn.Close())
	}
	return errors.Join(err, s.db.Close(), s.lock.Close())
}

func (s *Store) openSnapshots() []*Snapshot {
	s.mu.RLock()
	defer s.mu.RUnlock()
	open := make([]*Snapshot, 0, len(s.snapshots))
	for sn := range s.snapshots {
		open = append(open, sn)
	}
	return open
}

// Shard returns a shard's part of the store; an unknown one is empty. id is 1
// to MaxShardID: a shard of another number is empty and nothing can be written
// to it.
func (s *Store) Shard(id uint64) *Shard {
	number := invalidShard
	if id >= 1 && id <= MaxShardID {
		number = uint32(id)
	}
	sh := &Shard{store: s, id: id, number: number, lower: shardBound(number)}
	if number == invalidShard {
		sh.upper = sh.lower
	} else {
		sh.upper = shardBound(number + 1)
	}
	return sh
}

// ingest is Pebble's, without its many arguments.
func (s *Store) ingest(tables []string, span pebble.KeyRange) error {
	//nolint:forbidigo // who restores has no context, and it cannot be given up halfway
	_, err := s.db.IngestAndExcise(context.Background(), tables, nil, nil, span)
	return err
}
