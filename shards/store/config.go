package store

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Config sets up a Store.
type Config struct {
	// Dir is the data directory; it is created when it is missing.
	Dir string

	// FS is the file system. Default: the disk.
	FS vfs.FS

	// CacheBytes is the size of the block cache while all memtables are full;
	// it is larger by those that are not. So cache and memtables together take
	// CacheBytes and memTablesMax times MemTableBytes. Default: 64 MiB.
	CacheBytes int64

	// HeadBytes bounds the memory for what a put needs of the versions that it
	// replaces: 50 to 300 bytes for each of the keys that were written last. It
	// takes as much as there are keys for, at least 50 KiB. Default: 64 MiB.
	HeadBytes int64

	// MemTableBytes is the size of a memtable: three quarters of it are
	// written before it is flushed. Writers wait while memTablesMax of them
	// are full. Default: 32 MiB.
	MemTableBytes uint64

	// SnapshotBytesPerSecond bounds what all streamed snapshots together
	// write, after compression. Default: 0, no bound.
	SnapshotBytesPerSecond int64

	// Logger takes the log. Default: none.
	Logger *slog.Logger

	// OnFatal is called once when the database cannot go on, for example
	// because its manifest cannot be written. It must not call the store; it
	// should end the process, which loses nothing that the Raft log does not
	// have. Pebble's goroutine never goes on after it, so calls to the store
	// may block forever. Default: panic.
	OnFatal func(error)
}

const (
	cacheBytesDefault    = 160 << 20
	headBytesDefault     = 64 << 20
	memTableBytesDefault = 32 << 20

	memTableBytesMin = 256 << 10
	memTableBytesMax = 1 << 30
)

// WithDefaults returns the configuration with its unset fields filled in.
func (c Config) WithDefaults() Config {
	c.CacheBytes = cmp.Or(c.CacheBytes, cacheBytesDefault)
	c.HeadBytes = cmp.Or(c.HeadBytes, headBytesDefault)
	c.MemTableBytes = cmp.Or(c.MemTableBytes, memTableBytesDefault)
	if c.FS == nil {
		c.FS = disk()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.OnFatal == nil {
		c.OnFatal = func(err error) {
			panic(err) //nolint:forbidigo // the process must not go on, and nobody else is there to end it
		}
	}
	return c
}

// Validate reports all that is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("the store's directory is not set"))
	}
	if c.CacheBytes < 0 {
		errs = append(errs, fmt.Errorf("the store's cache of %d bytes is less than nothing", c.CacheBytes))
	}
	if c.HeadBytes < 0 {
		errs = append(errs, fmt.Errorf("the store's memory for heads of %d bytes is less than nothing", c.HeadBytes))
	}
	if c.MemTableBytes < memTableBytesMin || c.MemTableBytes > memTableBytesMax {
		errs = append(errs, fmt.Errorf("the store's memtable of %d bytes is not between %d and %d",
			c.MemTableBytes, memTableBytesMin, memTableBytesMax))
	}
	if c.SnapshotBytesPerSecond < 0 {
		errs = append(errs, fmt.Errorf("the store's snapshot rate of %d bytes a second is less than nothing",
			c.SnapshotBytesPerSecond))
	}
	return errors.Join(errs...)
}
