package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/flotillakv/flotilla/shards/machine"
)

// formatVersion is the version of the key layout. It is in the database's
// first row, durable before anything else is written:
//
//	key   | 00 00 00 00 | 00 .. 00 | 01 | "format" | 00 |
//	value | version, big endian |
//	      | 4 B                 |
const formatVersion uint32 = 1

func formatKey() []byte {
	return appendRow(nil, storeShard, 0, machine.TableState, []byte("format"))
}

// checkFormat writes the format version to a new database and refuses one of
// a newer version.
func (s *Store) checkFormat() error {
	value, closer, err := s.db.Get(formatKey())
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return s.initFormat()
	case err != nil:
		return fmt.Errorf("read the store's format: %w", err)
	}
	defer closer.Close()
	if len(value) != 4 {
		return fmt.Errorf("the store's format has %d bytes instead of 4", len(value))
	}
	if stored := binary.BigEndian.Uint32(value); stored > formatVersion {
		return &NewerFormatError{What: "data directory", Stored: stored, Supported: formatVersion}
	}
	return nil
}

func (s *Store) initFormat() error {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return fmt.Errorf("look into the store: %w", err)
	}
	used := it.First()
	if err := it.Close(); err != nil {
		return fmt.Errorf("look into the store: %w", err)
	}
	if used {
		return errors.New("the database has data but no format: it is not a store of this program")
	}
	if err := s.db.Set(formatKey(), binary.BigEndian.AppendUint32(nil, formatVersion), pebble.NoSync); err != nil {
		return fmt.Errorf("write the store's format: %w", err)
	}
	s.flusher.commits.Add(1)
	if err := s.flush(); err != nil {
		return fmt.Errorf("write the store's format: %w", err)
	}
	return nil
}
