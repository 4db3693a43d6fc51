package store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
)

// Restore replaces all of the shard's data by that of a snapshot stream, at
// once and durably (S3). The whole stream is read, checked and written to
// tables beside the database before anything changes; a stream that is not
// sound gives a *CorruptSnapshotError, or a *NewerFormatError. Once stop is
// closed it returns ErrStopped, at the latest after the present read from r,
// unless the replacement has begun.
//
// Reading ends behind the final frame of the stream.
func (sh *Shard) Restore(r io.Reader, stop <-chan struct{}) error {
	if err := sh.valid(); err != nil {
		return err
	}
	s := sh.store
	if err := s.acquire(); err != nil {
		return err
	}
	defer s.release()
	dir := s.cfg.FS.PathJoin(s.cfg.Dir, incomingName, strconv.FormatUint(s.restores.Add(1), 10))
	rows, err := sh.restore(r, stop, dir)
	// What was ingested has a second name in the database.
	err = errors.Join(err, s.cfg.FS.RemoveAll(dir))
	if err != nil {
		return fmt.Errorf("restore shard %d: %w", sh.id, err)
	}
	s.log.Info("shard restored from a snapshot", slog.Uint64("shard_id", sh.id), slog.Uint64("rows", rows))
	return nil
}

func (sh *Shard) restore(r io.Reader, stop <-chan struct{}, dir string) (rows uint64, err error) {
	in, err := newStreamReader(r, stop)
	if err != nil {
		return 0, err
	}
	defer in.close()
	tables := newTableBuilder(sh.store, dir)
	if err := sh.build(in, tables); err != nil {
		return 0, errors.Join(err, tables.abort())
	}
	return in.digest.rows, sh.replace(tables.paths)
}

// build writes the rows of a stream to tables.
func (sh *Shard) build(in *streamReader, tables *tableBuilder) error {
	if err := in.header(); err != nil {
		return err
	}
	var full []byte
	for {
		key, value, err := in.next()
		if errors.Is(err, errStreamEnd) {
			return tables.finish()
		}
		if err != nil {
			return err
		}
		full = append(full[:0], sh.lower[:shardBytes]...)
		full = append(full, key...)
		if err := tables.add(full, value); err != nil {
			return err
		}
	}
}

// replace swaps the shard's data for the tables'.
//
// Pebble excises what is in its files, so what of the shard is in memory has
// to be flushed first. Its ingestion sees to that: either it waits for the
// flush itself, or, where Pebble's options let it, it queues behind the flush
// and counts on the write-ahead log in a crash. There is none, so that is
// switched off (DisableIngestAsFlushable), and when it returns the new tables
// are in the manifest, synced. Flushing before is for the sake of errors:
// ingestion would wait forever for a disk that fails.
func (sh *Shard) replace(tables []string) error {
	if err := sh.store.flush(); err != nil {
		return err
	}
	if err := sh.store.ingest(tables, sh.span()); err != nil {
		return fmt.Errorf("replace the data: %w", err)
	}
	sh.store.heads.clear() // also of other shards, which find theirs again
	return nil
}
