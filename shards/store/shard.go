package store

import (
	"github.com/cockroachdb/pebble/v2"
)

// A Shard is one shard's part of the store. Safe for concurrent use, within
// the bounds of S4.
type Shard struct {
	store  *Store
	id     uint64
	number uint32

	// lower and upper bound the shard's keys.
	lower, upper []byte
}

// valid refuses writes under a number that is none.
func (sh *Shard) valid() error {
	if sh.number == invalidShard {
		return &InvalidShardError{Shard: sh.id}
	}
	return nil
}

func (sh *Shard) span() pebble.KeyRange {
	return pebble.KeyRange{Start: sh.lower, End: sh.upper}
}

// iterOptions bounds an iterator to the shard. Filters are used down to the
// lowest level, because most lookups are for keys to be created or for
// versions newer than the ones stored there.
func (sh *Shard) iterOptions() pebble.IterOptions {
	return pebble.IterOptions{LowerBound: sh.lower, UpperBound: sh.upper, UseL6Filters: true}
}

// Destroy removes all of the shard's data, durably (S3). It takes no time in
// proportion to the data.
func (sh *Shard) Destroy() error {
	if err := sh.valid(); err != nil {
		return err
	}
	if err := sh.store.acquire(); err != nil {
		return err
	}
	defer sh.store.release()
	return sh.replace(nil)
}
