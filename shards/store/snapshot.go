package store

import (
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// A Snapshot is the state of a shard at one moment, to be streamed while the
// shard goes on. Until it is closed, or the store is, what it shows stays on
// disk. Its methods are not to be called concurrently, but for Close.
type Snapshot struct {
	shard *Shard
	err   error // why there is none

	mu sync.Mutex // guards what follows; held while it is read
	// pinned pins files only, once what was in memory is flushed. It outlives
	// Restore and Destroy, as a plain Pebble snapshot would not.
	pinned *pebble.EventuallyFileOnlySnapshot
}

// Snapshot pins the shard's present state. It does not fail: WriteTo does.
func (sh *Shard) Snapshot() *Snapshot {
	s := sh.store
	sn := &Snapshot{shard: sh}
	if sn.err = sh.valid(); sn.err != nil {
		return sn
	}
	if sn.err = s.acquire(); sn.err != nil {
		return sn
	}
	defer s.release()
	sn.pinned = s.db.NewEventuallyFileOnlySnapshot([]pebble.KeyRange{sh.span()})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshots[sn] = struct{}{}
	return sn
}

// WriteTo streams the snapshot (see stream.go), at the store's rate for
// snapshots. Once stop is closed it returns ErrStopped, at the latest after
// the present write to w.
func (sn *Snapshot) WriteTo(w io.Writer, stop <-chan struct{}) error {
	s := sn.shard.store
	if sn.err != nil {
		return sn.err
	}
	if err := s.acquire(); err != nil {
		return err
	}
	defer s.release()
	sn.mu.Lock()
	defer sn.mu.Unlock()
	if sn.pinned == nil {
		return ErrClosed
	}
	// What is still in memory would be pinned there as long as w takes.
	if err := s.flusher.flush(stop, func() error { return ErrStopped }); err != nil {
		return err
	}
	out, err := newStreamWriter(w, func(n int) error { return s.throttle.wait(n, stop) })
	if err != nil {
		return err
	}
	if err := sn.stream(out); err != nil {
		return fmt.Errorf("snapshot of shard %d: %w", sn.shard.id, err)
	}
	s.log.Debug("snapshot streamed", slog.Uint64("shard_id", sn.shard.id), slog.Uint64("rows", out.digest.rows))
	return nil
}

func (sn *Snapshot) stream(out *streamWriter) error {
	if err := out.header(); err != nil {
		return err
	}
	it, err := sn.pinned.NewIter(&pebble.IterOptions{LowerBound: sn.shard.lower, UpperBound: sn.shard.upper})
	if err != nil {
		return err
	}
	if err := eachRow(it, out.row); err != nil {
		return err
	}
	return out.end()
}

// Close lets go of the state. Safe to call twice.
func (sn *Snapshot) Close() error {
	if sn.err != nil {
		return nil
	}
	s := sn.shard.store
	s.mu.Lock()
	delete(s.snapshots, sn)
	s.mu.Unlock()
	sn.mu.Lock()
	defer sn.mu.Unlock()
	if sn.pinned == nil {
		return nil
	}
	err := sn.pinned.Close()
	sn.pinned = nil
	return err
}
