package peer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/flotillakv/flotilla/shards"
)

// A Pool asks other nodes. It has a link to each that was asked. Safe for
// concurrent use.
type Pool struct {
	cfg PoolConfig
	// ctx is that of all links.
	ctx    context.Context //nolint:containedctx // the pool's own life
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	links map[string]*link
	ended bool
}

// NewPool makes a pool, which ends with Close and not with ctx.
func NewPool(ctx context.Context, cfg PoolConfig) *Pool {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	return &Pool{cfg: cfg.withDefaults(), ctx: ctx, cancel: cancel, links: make(map[string]*link)}
}

// Close ends all links. What waits fails with shards.ErrStopping; what was written
// and is not answered has an unknown outcome.
func (p *Pool) Close() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	for _, l := range p.links { // no more come
		l.close(shards.ErrStopping)
	}
	p.cancel(shards.ErrStopping)
}

// link returns the link to a node.
func (p *Pool) link(node string) (*link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil, shards.ErrStopping
	}
	if l, ok := p.links[node]; ok {
		return l, nil
	}
	if p.cfg.Address(node) == "" {
		return nil, &shards.UnreachableError{Node: node}
	}
	l, err := newLink(p.ctx, &p.cfg, node)
	if err == nil {
		p.links[node] = l
	}
	return l, err
}

// timeoutDefault is how long an operation without a deadline may take.
const timeoutDefault = 10 * time.Second

// Submit hands a call to the shard on a node, which must lead it. An error says
// that it was refused, and that Done will not be called.
//
// Besides what a host answers there are *shards.UnreachableError, when the call
// was not sent, and shards.ErrOutcomeUnknown, when it was and no answer came.
func (p *Pool) Submit(node string, shard shards.ShardID, call *shards.Call) error {
	l, err := p.link(node)
	if err != nil {
		return err
	}
	deadline := call.Deadline
	if deadline.IsZero() {
		deadline = time.Now().Add(timeoutDefault)
	}
	return l.push(&operation{shard: shard, tenant: call.Tenant, deadline: deadline, call: call, bytes: call.Cost()})
}

// QueryBatch has the replica on a node answer queries. An error ends it with some
// unanswered, which can be asked elsewhere.
func (p *Pool) QueryBatch(ctx context.Context, node string, shard shards.ShardID, batch *shards.QueryBatch) error {
	l, err := p.link(node)
	if err != nil {
		return err
	}
	for batch.Left() > 0 {
		if err := l.askGroup(ctx, shard, batch); err != nil {
			return err
		}
	}
	return nil
}

// askGroup has as many of a batch's queries answered as go in one operation.
func (l *link) askGroup(ctx context.Context, shard shards.ShardID, batch *shards.QueryBatch) error {
	if batch.Begin != nil {
		end, err := batch.Begin(ctx)
		if err != nil {
			return err
		}
		defer end()
	}
	g, err := prepare(ctx, batch)
	if err != nil || len(g.places) == 0 {
		return err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(timeoutDefault)
	}
	op := &operation{shard: shard, tenant: batch.Tenant, deadline: deadline, group: g, bytes: g.bytes}
	if err := l.push(op); err != nil {
		return err
	}
	select {
	case err := <-g.over:
		return err
	case <-ctx.Done():
		err := fmt.Errorf("wait for node %s: %w", l.node, context.Cause(ctx))
		g.end(err)
		return <-g.over // its own end, if that came first
	}
}
