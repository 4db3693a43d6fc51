package catalog

import (
	"fmt"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// cache holds decoded records by key, or that a record does not exist. What
// was read before a record's change must not be put in after it: a reader
// passes the generation from before its read, and each change ends a
// generation.
type cache struct {
	mu         sync.Mutex
	generation uint64
	records    *simplelru.LRU[string, any] // nil: the record does not exist
}

func newCache(max int) (*cache, error) {
	records, err := simplelru.NewLRU[string, any](max, nil)
	if err != nil {
		return nil, fmt.Errorf("make a cache of %d catalog records: %w", max, err)
	}
	return &cache{records: records}, nil
}

// get returns what is cached under the key, and the present generation.
func (c *cache) get(key string) (value any, ok bool, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	value, ok = c.records.Get(key)
	return value, ok, c.generation
}

// fill adds what was read, unless something changed since the generation.
func (c *cache) fill(key string, value any, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation == generation {
		c.records.Add(key, value)
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

// dropAll forgets everything.
func (c *cache) dropAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	c.records.Purge()
}
