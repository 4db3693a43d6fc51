package store

// Metrics is a moment's figures of the store. Counts are since Open.
type Metrics struct {
	// DiskBytes is the size of the database's files.
	DiskBytes uint64 `json:"disk_bytes"`
	// MemTableBytes is the memory of what is not flushed, or is being read.
	MemTableBytes uint64 `json:"memtable_bytes"`
	// CacheBytes is what the block cache holds.
	CacheBytes int64 `json:"cache_bytes"`
	// CacheHits counts block reads that the cache answered.
	CacheHits int64 `json:"cache_hits"`
	// CacheMisses counts those that it did not.
	CacheMisses int64 `json:"cache_misses"`

	// Flushes counts flushes, FlushFailures the attempts that failed.
	Flushes       int64  `json:"flushes"`
	FlushFailures uint64 `json:"flush_failures"`
	// FlushedBytes is what flushes wrote.
	FlushedBytes uint64 `json:"flushed_bytes"`

	// Compactions counts compactions, CompactedBytes what they wrote.
	Compactions    int64  `json:"compactions"`
	CompactedBytes uint64 `json:"compacted_bytes"`
	// CompactionDebtBytes estimates what is to be compacted for the tree to be
	// in shape.
	CompactionDebtBytes uint64 `json:"compaction_debt_bytes"`

	// ReadAmplification is in how many places a read must look at worst.
	ReadAmplification int `json:"read_amplification"`
	// WriteStalls counts how often writers had to wait for the disk.
	WriteStalls uint64 `json:"write_stalls"`
}

// Metrics returns the figures of the moment; all are zero once it is closed.
func (s *Store) Metrics() Metrics {
	if s.acquire() != nil {
		return Metrics{}
	}
	defer s.release()
	m := s.db.Metrics()
	total := m.Total()
	s.flusher.mu.Lock()
	failures := s.flusher.failures
	s.flusher.mu.Unlock()
	return Metrics{
		DiskBytes:           m.DiskSpaceUsage(),
		MemTableBytes:       m.MemTable.Size + m.MemTable.ZombieSize,
		CacheBytes:          m.BlockCache.Size,
		CacheHits:           m.BlockCache.Hits,
		CacheMisses:         m.BlockCache.Misses,
		Flushes:             m.Flush.Count,
		FlushFailures:       failures,
		FlushedBytes:        total.TableBytesFlushed,
		Compactions:         m.Compact.Count,
		CompactedBytes:      total.TableBytesCompacted,
		CompactionDebtBytes: m.Compact.EstimatedDebt,
		ReadAmplification:   int(total.Sublevels),
		WriteStalls:         s.stalls.Load(),
	}
}
