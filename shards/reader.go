package shards

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4"
)

// A reader makes this node's replica of one shard current: one ReadIndex round
// serves all reads that wait when it begins. A read that comes during a round
// joins the next one, because the round may have begun before a write that the
// read must see.
type reader struct {
	shard   ShardID
	node    *dragonboat.NodeHost
	timeout time.Duration
	rtt     time.Duration
	metrics *shardMetrics

	mu   sync.Mutex
	next *round        // the round that gathers reads; nil when none waits
	wake chan struct{} // holds one token while next waits
	// changed holds a token once the leader has changed: what was asked of the
	// one before may never be answered.
	changed chan struct{}
	closed  bool
	// closing is closed with the reader.
	closing chan struct{}

	done sync.WaitGroup
}

// After how long a follower asks again, at first and at most: its question, or the
// answer, may have been lost on the way, as it mostly is on a replica that has just
// joined. It includes applying what was committed before.
const (
	readIndexTimeoutMin = 250 * time.Millisecond
	readIndexTimeoutMax = time.Second
)

// retryTicks is after how long a read is asked again that was dropped: a new
// leader takes none before it has committed an entry.
const retryTicks = 2

type round struct {
	done chan struct{}
	err  error // set before done is closed
}

func newReader(shard ShardID, node *dragonboat.NodeHost, cfg Config, m *shardMetrics) *reader {
	r := &reader{
		shard: shard, node: node, timeout: cfg.ProposeTimeout, rtt: cfg.RTT, metrics: m,
		wake: make(chan struct{}, 1), changed: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	r.done.Go(r.run)
	return r
}

// current returns once the replica has applied all that was committed before
// the call.
func (r *reader) current(ctx context.Context) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return ErrStopping
	}
	if r.next == nil {
		r.next = &round{done: make(chan struct{})}
		r.wake <- struct{}{}
	}
	joined := r.next
	r.mu.Unlock()
	select {
	case <-joined.done:
		return joined.err
	case <-ctx.Done():
		return fmt.Errorf("wait for shard %d to be current: %w", r.shard, context.Cause(ctx))
	}
}

// close refuses new reads, serves those that wait, and returns when the
// reader's goroutine ended.
func (r *reader) close() {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.wake)
		close(r.closing)
	}
	r.mu.Unlock()
	r.done.Wait()
}

func (r *reader) run() {
	for range r.wake {
		r.mu.Lock()
		present := r.next
		r.next = nil
		r.mu.Unlock()
		present.err = r.readIndex()
		close(present.done)
	}
}

// leaderChanged has a round that is under way ask again. It does not block.
func (r *reader) leaderChanged() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// readIndex runs one round. Raft drops the request until the leader committed
// an entry of its term, so it is tried again for a while; nothing can be
// applied twice by it.
func (r *reader) readIndex() error {
	r.metrics.readRounds.Inc()
	giveUp := time.Now().Add(r.timeout)
	for timeout := readIndexTimeoutMin; ; timeout = min(2*timeout, readIndexTimeoutMax) {
		err := r.readIndexOnce(timeout)
		if err == nil || !errors.Is(err, dragonboat.ErrShardNotReady) && !errors.Is(err, dragonboat.ErrSystemBusy) {
			return err
		}
		if time.Now().After(giveUp) {
			return &NotLeaderError{Shard: r.shard}
		}
		select {
		case <-time.After(retryTicks * r.rtt):
		case <-r.changed: // there is a leader now
		case <-r.closing:
			return ErrStopping
		}
	}
}

func (r *reader) readIndexOnce(timeout time.Duration) error {
	select {
	case <-r.changed: // an earlier change is none of this attempt
	default:
	}
	request, err := r.node.ReadIndex(uint64(r.shard), timeout)
	switch {
	case errors.Is(err, dragonboat.ErrClosed):
		return ErrStopping
	case errors.Is(err, dragonboat.ErrShardNotFound):
		return fmt.Errorf("shard %d: %w", r.shard, ErrShardNotFound)
	case err != nil:
		return err
	}
	var result dragonboat.RequestResult
	select {
	case result = <-request.ResultC():
		request.Release()
	case <-r.changed: // the request is left to the engine, which still has it
		return dragonboat.ErrShardNotReady
	case <-r.closing:
		return ErrStopping
	}
	switch {
	case result.Completed():
		return nil
	case result.Dropped(), result.Timeout():
		return dragonboat.ErrShardNotReady
	case result.Terminated():
		return ErrStopping
	default:
		return &NotLeaderError{Shard: r.shard}
	}
}
