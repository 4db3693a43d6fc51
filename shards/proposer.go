package shards

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"

	"github.com/flotillakv/flotilla/shards/fair"
	"github.com/flotillakv/flotilla/shards/fault"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/replica"
	"github.com/flotillakv/flotilla/tenancy"
)

// A proposer brings the calls of all tenants into one shard's Raft log.
//
//	callers ──> fair queue ──> dispatch (one at a time) ──> entry 1 ─┐
//	            by tenant      takes what waits, up to      entry 2  ├─> Raft ─> replica.Applied
//	                           a bound: group commit        ...      ┘           answers the callers
//
//	P1: calls of one tenant enter the log in the order of their submission.
//	P2: at most InFlightMax entries are on their way. While they are, calls
//	    gather in the queue, so entries grow with the load and a lone caller
//	    never waits for company.
//	P3: every call that was taken is answered once: by Applied, or, if its
//	    entry's outcome is an error or late, by the sender that waits for it.
//
// Answers do not come back through Raft's own results: the replica on this
// node hands them over as it applies the entry, which saves encoding them.
type proposer struct {
	shard   ShardID
	node    *dragonboat.NodeHost
	session *client.Session
	cfg     Config
	id      uint64 // drawn anew by each start of the node
	now     func() time.Time
	clock   *replica.Clock
	metrics *shardMetrics
	// leads returns why no command may be proposed here. Raft would send it on
	// to the leader, but commands carry the clock of the node that leads.
	leads func() error

	// dispatch is held from taking calls off the queue until their entry is
	// handed to Raft, for P1. Lock order: dispatch, then mu.
	dispatch sync.Mutex

	mu      sync.Mutex
	arrived sync.Cond // signaled when the queue gets its first call, and at close
	queue   *fair.Queue[tenancy.TenantID, *Call]
	closed  bool
	// waiting are the calls of the entries on their way, by sequence number.
	waiting  map[uint64][]*Call
	sequence uint64
	// settled is closed when nobody is to wait any more for the entries that
	// are on their way, and made anew then.
	settled chan struct{}

	senders sync.WaitGroup
}

func newProposer(shard ShardID, node *dragonboat.NodeHost, cfg Config, id uint64, clock *replica.Clock, m *shardMetrics, leads func() error) *proposer {
	p := &proposer{
		shard: shard, node: node, session: node.GetNoOPSession(uint64(shard)), cfg: cfg, id: id,
		now: fault.Now, clock: clock, metrics: m, leads: leads,
		queue:   fair.New[tenancy.TenantID, *Call](cfg.Queue, tenancy.SystemTenant),
		waiting: make(map[uint64][]*Call), settled: make(chan struct{}),
	}
	p.arrived.L = &p.mu
	for range cfg.InFlightMax {
		p.senders.Go(p.send)
	}
	return p
}

// submit puts a call in line, or refuses it; Done is not called then.
func (p *proposer) submit(c *Call) error {
	if err := p.leads(); err != nil {
		return err
	}
	if c.Deadline.IsZero() {
		c.Deadline = p.now().Add(p.cfg.ProposeTimeout)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrStopping
	}
	if err := p.queue.Push(c.Tenant, c.Weight, c, c.Cost()); err != nil {
		p.metrics.refused.Inc()
		queue := "shard"
		if errors.Is(err, fair.ErrTenantFull) {
			queue = "tenant"
		}
		return &BusyError{Shard: p.shard, Queue: queue, RetryAfter: 50 * time.Millisecond}
	}
	if p.queue.Len() == 1 {
		p.arrived.Signal()
	}
	return nil
}

// close refuses new calls, lets those in line go their way, and returns when
// all senders ended.
func (p *proposer) close() {
	p.mu.Lock()
	p.closed = true
	p.arrived.Broadcast()
	p.mu.Unlock()
	p.senders.Wait()
}

// send brings one entry after the other on its way. InFlightMax of them run.
func (p *proposer) send() {
	var calls []*Call
	for {
		var e sentEntry
		var err error
		calls, e, err = p.dispatchOne(calls)
		if len(calls) == 0 {
			return
		}
		if err == nil {
			err = e.wait()
		}
		if err != nil {
			p.fail(e.sequence, p.describe(err))
			calls = nil // a late Applied may still be reading it
		}
	}
}

// sentEntry is an entry on its way.
type sentEntry struct {
	sequence uint64
	request  *dragonboat.RequestState
	settled  <-chan struct{}
}

// wait returns nil once the entry was applied.
func (e *sentEntry) wait() error {
	select {
	case result := <-e.request.ResultC():
		e.request.Release()
		return outcome(result)
	case <-e.settled: // the request is left to the engine, which still has it
		return fmt.Errorf("%w: another replica leads the shard", ErrOutcomeUnknown)
	}
}

// settle ends the waiting for the entries that are on their way: their outcome
// is unknown.
func (p *proposer) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.settled)
	p.settled = make(chan struct{})
}

// dispatchOne takes the calls that go next and hands them to Raft as one
// entry. No calls are returned once the proposer is closed and drained.
func (p *proposer) dispatchOne(buf []*Call) (calls []*Call, e sentEntry, err error) {
	p.dispatch.Lock()
	defer p.dispatch.Unlock()
	if calls, e = p.next(buf); len(calls) == 0 {
		return nil, e, nil
	}
	if err = p.leads(); err == nil {
		e.request, err = p.node.Propose(p.session, p.encode(calls, e.sequence), p.cfg.ProposeTimeout)
	}
	return calls, e, err
}

// next waits for calls, takes those that go next and registers them.
func (p *proposer) next(buf []*Call) ([]*Call, sentEntry) {
	for {
		taken := p.take(buf[:0])
		if len(taken) == 0 {
			return nil, sentEntry{}
		}
		if calls := p.live(taken); len(calls) > 0 {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.sequence++
			// buf is reused for the next entry only after this one was
			// answered, so the map may share it.
			p.waiting[p.sequence] = calls
			return calls, sentEntry{sequence: p.sequence, settled: p.settled}
		}
		buf = taken
	}
}

// take waits for calls and takes those whose turn it is.
func (p *proposer) take(buf []*Call) []*Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.queue.Len() == 0 && !p.closed {
		p.arrived.Wait()
	}
	return p.queue.Take(buf, p.cfg.EntryCommandsMax, p.cfg.EntryBytesMax)
}

// live keeps the calls that still want to be applied. It answers those that
// waited too long, so mu must not be held.
func (p *proposer) live(calls []*Call) []*Call {
	now := p.now()
	kept := calls[:0]
	for _, c := range calls {
		switch {
		case !c.Take(): // canceled
		case now.After(c.Deadline):
			c.Fail(context.DeadlineExceeded)
		default:
			kept = append(kept, c)
		}
	}
	return kept
}

func (p *proposer) encode(calls []*Call, sequence uint64) []byte {
	size := 32
	for _, c := range calls {
		size += len(c.Command) + 4
	}
	entry := machine.AppendHeader(make([]byte, 0, size), machine.Header{
		Proposer: p.id, Sequence: sequence, TimeMS: uint64(p.now().UnixMilli()), ClockMS: p.clock.NowMS(),
	})
	for _, c := range calls {
		entry = machine.AppendCommand(entry, c.Command)
	}
	p.metrics.entries.Inc()
	p.metrics.commands.Add(float64(len(calls)))
	return entry
}

// applied answers the calls of an entry. The replica calls it for every entry
// with this proposer's id.
func (p *proposer) applied(sequence uint64, results []machine.Result) {
	for i, c := range p.release(sequence) {
		c.Done(results[i])
	}
}

func (p *proposer) fail(sequence uint64, err error) {
	p.metrics.failed.Inc()
	for _, c := range p.release(sequence) {
		c.Fail(err)
	}
}

// release hands the calls of an entry to whoever answers them first.
func (p *proposer) release(sequence uint64) []*Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	calls := p.waiting[sequence]
	delete(p.waiting, sequence)
	return calls
}

// outcome is what Raft says of an entry that it accepted: nil if it was
// applied. A dropped one never entered the log.
func outcome(r dragonboat.RequestResult) error {
	switch {
	case r.Completed():
		return nil
	case r.Dropped():
		return dragonboat.ErrShardNotReady
	default:
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, resultError(r))
	}
}

func resultError(r dragonboat.RequestResult) error {
	switch {
	case r.Timeout():
		return errors.New("it was not applied in time")
	case r.Terminated():
		return errors.New("the replica stopped")
	default:
		return errors.New("it was aborted")
	}
}

// describe turns an error of Raft into one of this package. Only what surely
// did not enter the log counts as not applied (the library's own IsTempError
// mixes both).
func (p *proposer) describe(err error) error {
	if _, moved := errors.AsType[*NotLeaderError](err); moved {
		return err
	}
	switch {
	case errors.Is(err, dragonboat.ErrSystemBusy):
		return &BusyError{Shard: p.shard, Queue: "log", RetryAfter: 100 * time.Millisecond}
	case errors.Is(err, dragonboat.ErrShardNotReady), errors.Is(err, dragonboat.ErrShardNotInitialized):
		return &NotLeaderError{Shard: p.shard}
	case errors.Is(err, dragonboat.ErrShardNotFound):
		return fmt.Errorf("shard %d: %w", p.shard, ErrShardNotFound)
	case errors.Is(err, dragonboat.ErrClosed):
		return ErrStopping // Propose checks it before it does anything
	case errors.Is(err, ErrOutcomeUnknown):
		return err
	default:
		return fmt.Errorf("propose to shard %d: %w: %w", p.shard, ErrOutcomeUnknown, err)
	}
}

// queued is how many calls are in line.
func (p *proposer) queued() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queue.Len()
}
