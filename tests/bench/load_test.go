package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeTarget keeps keys in memory; its faults make answers wrong.
type fakeTarget struct {
	mu       sync.Mutex
	revision uint64
	kvs      map[string]found

	shortValues, staleReads, missingKeys, lostSwaps bool
}

func (f *fakeTarget) Put(_ context.Context, key string, value []byte) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revision++
	f.kvs[key] = found{f.revision, len(value)}
	return f.revision, nil
}

func (f *fakeTarget) Get(_ context.Context, key string, _ bool) (found, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	got, ok := f.kvs[key]
	if !ok {
		return found{}, fmt.Errorf("no key %s", key)
	}
	if f.shortValues {
		got.bytes--
	}
	if f.staleReads {
		got.revision--
	}
	return got, nil
}

func (f *fakeTarget) Range(_ context.Context, start, end string) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for key := range f.kvs {
		if key >= start && key < end {
			n++
		}
	}
	if f.missingKeys {
		n--
	}
	return n, nil
}

func (f *fakeTarget) Swap(ctx context.Context, key string, value []byte, known uint64) (uint64, error) {
	f.mu.Lock()
	same := f.kvs[key].revision == known && !f.lostSwaps
	f.mu.Unlock()
	if !same {
		return 0, errors.New("another revision")
	}
	return f.Put(ctx, key, value)
}

func (f *fakeTarget) Fill(ctx context.Context, pairs []pair) error {
	for _, p := range pairs {
		if _, err := f.Put(ctx, p.key, p.value); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeTarget) Close() error { return nil }

// newFake is a preloaded fake and its side.
func newFake(t *testing.T, d data) (*fakeTarget, *side) {
	t.Helper()
	f := &fakeTarget{kvs: make(map[string]found)}
	s := &side{name: "fake", clients: []target{f}}
	require.NoError(t, preload(t.Context(), s, d, newProgress(t.Output())))
	require.Len(t, f.kvs, d.keys)
	return f, s
}

func TestEveryWorkloadRunsAndNoticesWrongAnswers(t *testing.T) {
	t.Parallel()
	faults := map[string]func(*fakeTarget){
		"get":              func(f *fakeTarget) { f.shortValues = true },
		"get-serializable": func(f *fakeTarget) { f.shortValues = true },
		"put-get":          func(f *fakeTarget) { f.staleReads = true },
		"range":            func(f *fakeTarget) { f.missingKeys = true },
		"txn":              func(f *fakeTarget) { f.lostSwaps = true },
	}
	for _, w := range workloads() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			d := newData(300, 16)
			f, s := newFake(t, d)
			callers := newCallers(s, d, 7)
			require.NoError(t, prepareCallers(t.Context(), w, callers))
			latencies, elapsed, err := runLoad(t.Context(), w, callers, 5*time.Millisecond)
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(latencies), len(callers))
			require.Positive(t, elapsed)
			require.Len(t, f.kvs, d.keys, "a workload writes preloaded keys only")

			if fault, ok := faults[w.name]; ok {
				fault(f)
				_, _, err = runLoad(t.Context(), w, callers, time.Hour)
				require.Error(t, err)
			}
		})
	}
}

func TestCallersWriteKeysOfTheirOwn(t *testing.T) {
	t.Parallel()
	d := newData(103, 1)
	_, s := newFake(t, d)
	owner := make(map[string]int)
	for _, c := range newCallers(s, d, 10) {
		require.NoError(t, prepareSwap(t.Context(), c))
		for range 200 {
			key := c.ownKey()
			require.Equal(t, c.id, ownerOf(owner, key, c.id), key)
		}
		for _, swap := range c.swaps {
			require.Equal(t, c.id, ownerOf(owner, swap.key, c.id), swap.key)
		}
	}
}

// ownerOf is the first caller that asked for a key.
func ownerOf(owner map[string]int, key string, caller int) int {
	if first, ok := owner[key]; ok {
		return first
	}
	owner[key] = caller
	return caller
}

func TestLoadEndsWithTheContextAndWithTheFirstError(t *testing.T) {
	t.Parallel()
	d := newData(100, 1)
	_, s := newFake(t, d)
	callers := newCallers(s, d, 4)

	var calls atomic.Int64
	broken := errors.New("broken")
	failing := workload{name: "failing", op: func(ctx context.Context, _ *caller) error {
		if calls.Add(1) == 1 {
			return broken
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	_, _, err := runLoad(t.Context(), failing, callers, time.Hour)
	require.ErrorIs(t, err, broken)

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	_, _, err = runLoad(ctx, failing, callers, time.Hour)
	require.ErrorIs(t, err, broken)
	require.ErrorIs(t, rest(ctx, time.Hour), broken)
}

func TestKeyNamesAreOrdered(t *testing.T) {
	t.Parallel()
	require.Equal(t, "bench/0000000000", keyName(0))
	require.Equal(t, "bench/0001234567", keyName(1234567))
	require.Less(t, keyName(999_999), keyName(1_000_000))
}
