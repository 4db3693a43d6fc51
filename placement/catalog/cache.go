package catalog

import (
	"fmt"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// cache holds decoded records by key, or that a record does not exist.
//
// K1: an entry that is not old is what the system namespace has, as far as the
// watch has shown it. What was read before a record's change must not be put in
// after it, so a reader passes the generation from before its read, and each
// change ends a generation. When changes were missed, all entries become old:
// they are kept for a time in which nothing newer can be read.
type cache struct {
	mu         sync.Mutex
	generation uint64
	// since is the generation in which the last gap in the watch was.
	since   uint64
	records *simplelru.LRU[string, entry]
}

type entry struct {
	value any // nil: the record does not exist
	// filled is the generation in which it was put in.
	filled uint64
}

func newCache(max int) (*cache, error) {
	records, err := simplelru.NewLRU[string, entry](max, nil)
	if err != nil {
		return nil, fmt.Errorf("make a cache of %d catalog records: %w", max, err)
	}
	return &cache{records: records}, nil
}

// found is what the cache knows of a record.
type found struct {
	value any
	// known tells that there is an entry, and old that changes of it may have
	// been missed.
	known, old bool
	generation uint64
}

// get returns what is cached under the key, and the present generation.
func (c *cache) get(key string) found {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.records.Get(key)
	return found{value: e.value, known: ok, old: e.filled < c.since, generation: c.generation}
}

// fill adds what was read, unless something changed since the generation.
func (c *cache) fill(key string, value any, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation == generation {
		c.records.Add(key, entry{value, generation})
	}
}

// drop forgets records that changed.
func (c *cache) drop(keys []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	for _, key := range keys {
		c.records.Remove(key)
	}
}

// missed makes all entries old: there may have been changes that nobody tells.
func (c *cache) missed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	c.since = c.generation
}
