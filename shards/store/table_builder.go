package store

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const lowestLevel = 6

// tableBuilder writes rows, which come in order, to tables in a directory of
// its own.
type tableBuilder struct {
	store  *Store
	dir    string
	paths  []string // of the tables, the present one included
	table  *sstable.Writer
	prefix []byte // of the last row
}

func newTableBuilder(s *Store, dir string) *tableBuilder {
	return &tableBuilder{store: s, dir: dir}
}

// add writes the next row. Tables are cut between prefixes.
func (t *tableBuilder) add(key, value []byte) error {
	prefix := key[:splitKey(key)]
	if t.table != nil && t.table.Raw().EstimatedSize() >= t.store.tableBytes && !bytes.Equal(prefix, t.prefix) {
		if err := t.finish(); err != nil {
			return err
		}
	}
	if t.table == nil {
		if err := t.begin(); err != nil {
			return err
		}
	}
	t.prefix = append(t.prefix[:0], prefix...)
	if err := t.table.Set(key, value); err != nil {
		return fmt.Errorf("write a table: %w", err)
	}
	return nil
}

func (t *tableBuilder) begin() error {
	files := t.store.cfg.FS
	if len(t.paths) == 0 {
		if err := files.MkdirAll(t.dir, 0o750); err != nil {
			return fmt.Errorf("make a directory for tables: %w", err)
		}
	}
	path := files.PathJoin(t.dir, strconv.Itoa(len(t.paths))+".sst")
	file, err := files.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("make a table: %w", err)
	}
	t.paths = append(t.paths, path)
	options := t.store.opts.MakeWriterOptions(lowestLevel, t.store.db.TableFormat())
	t.table = sstable.NewWriter(objstorageprovider.NewFileWritable(file), options)
	return nil
}

// finish makes the present table complete and durable.
func (t *tableBuilder) finish() error {
	if t.table == nil {
		return nil
	}
	err := t.table.Close()
	t.table = nil
	if err != nil {
		return fmt.Errorf("write a table: %w", err)
	}
	return nil
}

// abort closes the present table, whose content no longer matters.
func (t *tableBuilder) abort() error {
	err := t.finish()
	if errors.Is(err, pebble.ErrClosed) {
		return nil
	}
	return err
}
