package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Flush makes all batches durable that were committed before it was called.
// Concurrent callers share flushes, but one joins only a flush that has yet to
// begin (S2). An error says that durability is unknown; the data stays in
// memory and Pebble keeps trying to write it.
func (s *Store) Flush(ctx context.Context) error {
	if err := s.acquire(); err != nil {
		return err
	}
	defer s.release()
	return s.flusher.flush(ctx.Done(), func() error { return context.Cause(ctx) })
}

// Flush is like Store.Flush, with no way to stop waiting.
func (sh *Shard) Flush() error {
	if err := sh.store.acquire(); err != nil {
		return err
	}
	defer sh.store.release()
	return sh.store.flush()
}

func (s *Store) flush() error { return s.flusher.flush(nil, nil) }

// flusher lets concurrent callers share flushes.
type flusher struct {
	// start begins a flush of all that is committed; the channel is closed
	// when it ended well, and never if it failed. succeeded is then called.
	start     func() (<-chan struct{}, error)
	succeeded func()
	// commits counts committed batches.
	commits atomic.Uint64

	loops sync.WaitGroup
	quit  chan struct{} // closed to end the loop

	mu sync.Mutex // guards what follows; see the package's comment on locks
	// looping says that a goroutine takes rounds.
	looping bool
	// running is the round whose flush began, waiting the one that callers
	// join. Either may be nil.
	running, waiting *flushRound
	// durable is the number of commits known to be durable.
	durable uint64
	fatal   error
	// lastEnd is how the last flush ended, which may be no failure: an empty
	// one has an error too. It is one if Pebble then calls it an error.
	lastEnd error
	// failures counts failed attempts to flush.
	failures uint64
}

// flushRound is one flush and those who wait for it.
type flushRound struct {
	done  chan struct{}
	ended bool // guarded by flusher.mu
	err   error
}

func (r *flushRound) end(err error) {
	if r == nil || r.ended {
		return
	}
	r.ended, r.err = true, err
	close(r.done)
}

func newFlusher() *flusher { return &flusher{quit: make(chan struct{})} }

// flush waits until all that is committed is durable, until stop is closed,
// whose reason cause tells, or until flushing fails.
func (f *flusher) flush(stop <-chan struct{}, cause func() error) error {
	round, err := f.join()
	if round == nil || err != nil {
		return err
	}
	select {
	case <-round.done:
		return round.err
	case <-stop:
		return fmt.Errorf("flush: %w", cause())
	}
}

// join returns the round that is yet to begin, or nil if there is nothing to
// flush.
func (f *flusher) join() (*flushRound, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fatal != nil || f.durable == f.commits.Load() {
		return nil, f.fatal
	}
	if f.waiting == nil {
		f.waiting = &flushRound{done: make(chan struct{})}
	}
	if !f.looping {
		f.looping = true
		f.loops.Go(f.loop)
	}
	return f.waiting, nil
}

// begin starts a flush without waiting for it.
func (f *flusher) begin() error {
	_, err := f.join()
	return err
}

// loop takes rounds until nobody waits.
func (f *flusher) loop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.waiting != nil && f.fatal == nil {
		round := f.waiting
		f.running, f.waiting = round, nil
		commits := f.commits.Load()
		f.mu.Unlock()
		err := f.flushOnce()
		f.mu.Lock()
		if err == nil {
			f.durable = commits
		}
		round.end(err)
		f.running = nil
	}
	f.looping = false
}

func (f *flusher) flushOnce() error {
	flushed, err := f.start()
	if err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	select {
	case <-flushed:
		f.succeeded()
		return nil
	case <-f.quit:
		return ErrClosed
	}
}

// close ends the loop. Nobody may wait for a flush any more.
func (f *flusher) close() {
	close(f.quit)
	f.loops.Wait()
}

// ended hears how a flush ended.
func (f *flusher) ended(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastEnd = err
}

// backgroundError hears of an error of Pebble's background work. If a flush
// failed, waiting for its success could take forever, so those who wait are
// told; Pebble itself tries again.
func (f *flusher) backgroundError(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lastEnd == nil || !errors.Is(err, f.lastEnd) {
		return
	}
	f.failures++
	err = fmt.Errorf("flush: %w", err)
	f.running.end(err)
	f.waiting.end(err)
	f.waiting = nil
}

// fail ends all waiting for good.
func (f *flusher) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fatal = err
	f.running.end(err)
	f.waiting.end(err)
}
