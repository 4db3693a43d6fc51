package store

import (
	"runtime"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable/block"
)

// formatPebble is the format of Pebble's own files. It is written once a
// database is opened with it, and older versions of Pebble then refuse the
// database: raise it a release later than the Pebble that knows it. This one
// has columnar blocks, which make version lookups cheap, and excise.
const formatPebble = pebble.FormatTableFormatV6

const (
	// memTablesMax bounds the memtables: writers wait when as many are full.
	// Two would make each flush stall the writers for its last part on a busy
	// machine; each one more costs memory and time to replay after a crash.
	memTablesMax = 3

	bloomBitsPerKey = 10 // 1 % false positives

	// tableBytes is how large a table grows on any level but L0.
	tableBytes = 16 << 20
	// indexBlockBytes is large enough that a table's index is one block: a
	// look-up then goes through one level of it, not two.
	indexBlockBytes = 256 << 10
)

// options returns Pebble's options, with all defaults filled in.
func (s *Store) options() *pebble.Options {
	o := &pebble.Options{
		FS:                 s.cfg.FS,
		Comparer:           newComparer(),
		FormatMajorVersion: formatPebble,
		Logger:             &engineLogger{s},
		EventListener:      s.eventListener(),

		// The Raft log is the write-ahead log; see DESIGN.md.
		DisableWAL: true,

		// Pebble takes the memtables off the cache. A cache that full ones leave
		// nothing of reads each filter from disk, just when it is busiest.
		CacheSize:                   s.cfg.CacheBytes + memTablesMax*int64(s.cfg.MemTableBytes),
		MemTableSize:                s.cfg.MemTableBytes,
		MemTableStopWritesThreshold: memTablesMax,
		MaxOpenFiles:                1000,

		// One compaction at a time leaves the second of two cores to the
		// requests; another one helps out when L0 or the debt grows.
		CompactionConcurrencyRange: func() (int, int) { return 1, max(2, runtime.GOMAXPROCS(0)/2) },
		// Compactions of few bytes from L0 into a large level below are most of
		// what a put costs. Lookups skip L0's tables by their filters, so L0 may
		// be deep before it is compacted, deeper before writers of all shards
		// have to wait, and the level below it large.
		L0CompactionThreshold: 8,
		L0StopWritesThreshold: 24,
		LBaseMaxBytes:         256 << 20,
		// Shards write side by side: small L0 tables overlap with few others.
		FlushSplitBytes: 2 << 20,
	}
	// New versions are read much and are compressed by the cheapest algorithm.
	// Old versions of keys sit in value blocks, are rarely read before
	// compaction drops them, and are worth zstd.
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings {
		return pebble.UniformDBCompressionSettings(block.FastCompression)
	})
	for i := range o.Levels {
		o.Levels[i].IndexBlockSize = indexBlockBytes
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBitsPerKey)
	}
	// A table's writer holds its old versions in memory until the table is full,
	// so tables stay small on all levels; Pebble would double them with each.
	for i := 1; i < len(o.TargetFileSizes); i++ {
		o.TargetFileSizes[i] = tableBytes
	}
	// An ingested file that waits in memory for its turn to be flushed is lost
	// in a crash when there is no write-ahead log; see Restore.
	o.Experimental.DisableIngestAsFlushable = func() bool { return true }
	o.EnsureDefaults()
	return o
}
