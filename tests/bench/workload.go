package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

const (
	// rangeKeys is how many keys the range workload reads at once.
	rangeKeys = 100
	// swapKeys bounds the keys that a caller of the txn workload writes.
	swapKeys = 16
	// valuePoolBytes is the size of the random bytes that values are cut from:
	// enough that no server can compress them or keep one for many.
	valuePoolBytes = 1 << 20
)

// workload is one kind of operation.
type workload struct {
	name string
	// prepare does what op needs done before; not measured. It may be nil.
	prepare func(ctx context.Context, c *caller) error
	// op is one operation. It fails unless the answer is the right one.
	op func(ctx context.Context, c *caller) error
}

func workloads() []workload {
	return []workload{
		{name: "put", op: putOp},
		{name: "get", op: getOp},
		{name: "get-serializable", op: getSerializableOp},
		{name: "put-get", op: putGetOp},
		{name: "range", op: rangeOp},
		{name: "txn", prepare: prepareSwap, op: swapOp},
	}
}

func workloadNames() string {
	var names []string
	for _, w := range workloads() {
		names = append(names, w.name)
	}
	return strings.Join(names, ",")
}

// caller is one of the goroutines that call one of the servers, with what it
// needs to choose keys and values. Not safe for concurrent use.
type caller struct {
	id      int
	callers int
	target  target
	data    data
	rng     *rand.Rand
	// swaps are the keys that it may swap, with the revisions it knows.
	swaps []swap

	sample
}

type swap struct {
	key      string
	revision uint64
}

// newCallers makes callers that share the side's clients. Those of both sides
// choose the same keys.
func newCallers(s *side, d data, n int) []*caller {
	callers := make([]*caller, n)
	for id := range callers {
		callers[id] = &caller{
			id: id, callers: n, target: s.client(id), data: d, rng: rand.New(rand.NewPCG(uint64(n), uint64(id))),
		}
	}
	return callers
}

// anyKey is one of all keys.
func (c *caller) anyKey() string { return keyName(c.rng.IntN(c.data.keys)) }

// ownKey is one of the keys that no other caller writes in workloads that write
// only such keys.
func (c *caller) ownKey() string {
	return keyName(c.id + c.callers*c.rng.IntN(c.data.keys/c.callers))
}

func (c *caller) value() []byte { return c.data.value(c.rng) }

func putOp(ctx context.Context, c *caller) error {
	_, err := c.target.Put(ctx, c.anyKey(), c.value())
	return err
}

func getOp(ctx context.Context, c *caller) error { return get(ctx, c, false) }

func getSerializableOp(ctx context.Context, c *caller) error { return get(ctx, c, true) }

func get(ctx context.Context, c *caller, serializable bool) error {
	key := c.anyKey()
	got, err := c.target.Get(ctx, key, serializable)
	if err != nil {
		return err
	}
	if got.bytes != c.data.valueBytes {
		return fmt.Errorf("key %s has a value of %d bytes, not %d", key, got.bytes, c.data.valueBytes)
	}
	return nil
}

// putGetOp counts once: a put, and a linearizable read that must find it.
func putGetOp(ctx context.Context, c *caller) error {
	key := c.ownKey()
	revision, err := c.target.Put(ctx, key, c.value())
	if err != nil {
		return err
	}
	got, err := c.target.Get(ctx, key, false)
	if err != nil {
		return err
	}
	if got.revision != revision {
		return fmt.Errorf("key %s was put at revision %d, but read at %d", key, revision, got.revision)
	}
	return nil
}

func rangeOp(ctx context.Context, c *caller) error {
	first := c.rng.IntN(c.data.keys - rangeKeys + 1)
	n, err := c.target.Range(ctx, keyName(first), keyName(first+rangeKeys))
	if err != nil {
		return err
	}
	if n != rangeKeys {
		return fmt.Errorf("the range from %s has %d keys, not %d", keyName(first), n, rangeKeys)
	}
	return nil
}

func prepareSwap(ctx context.Context, c *caller) error {
	c.swaps = nil
	for i := range min(swapKeys, c.data.keys/c.callers) {
		// Spread over all keys, as the load of the other workloads is.
		own := i * (c.data.keys / c.callers) / swapKeys
		key := keyName(c.id + c.callers*own)
		got, err := c.target.Get(ctx, key, false)
		if err != nil {
			return err
		}
		c.swaps = append(c.swaps, swap{key, got.revision})
	}
	return nil
}

func swapOp(ctx context.Context, c *caller) error {
	s := &c.swaps[c.rng.IntN(len(c.swaps))]
	revision, err := c.target.Swap(ctx, s.key, c.value(), s.revision)
	if err != nil {
		return err
	}
	s.revision = revision
	return nil
}

// data is the keys and values of a run.
type data struct {
	keys       int
	valueBytes int
	pool       []byte
}

func newData(keys, valueBytes int) data {
	pool := make([]byte, valuePoolBytes+valueBytes)
	rng := rand.NewChaCha8([32]byte{})
	_, _ = rng.Read(pool) // never fails
	return data{keys: keys, valueBytes: valueBytes, pool: pool}
}

// value is a random value, not to be changed.
func (d data) value(rng *rand.Rand) []byte {
	start := rng.IntN(valuePoolBytes)
	return d.pool[start : start+d.valueBytes : start+d.valueBytes]
}

// keyName is the i-th key. Names are in the order of their numbers.
func keyName(i int) string {
	const prefix, digits = "bench/", 10
	name := make([]byte, 0, len(prefix)+digits)
	name = append(name, prefix...)
	number := strconv.Itoa(i)
	for range digits - len(number) {
		name = append(name, '0')
	}
	return string(append(name, number...))
}
