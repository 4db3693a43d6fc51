package shards

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// A QueryBatch is queries of one shard that are answered from one state of it,
// or, if that is lost halfway, from another. It is asked once.
type QueryBatch struct {
	// Tenant is in whose line the queries wait when another node answers them, and
	// those that take long anywhere.
	Tenant tenancy.TenantID
	// Consistency is how current the state must be.
	Consistency Consistency
	// Queries are best in the order of their namespaces and keys: each look-up
	// goes on from where the one before it ended.
	Queries []Query

	// Emit is called exactly once for each query, unless asking returns an error:
	// then for those that were answered before it. It runs on goroutines that
	// others wait for, one at a time: it must not block.
	Emit func(i int, response proto.Message, err error)
	// Begin, if set, is called before queries are read, when there is a state or a
	// way to one. It may wait until ctx ends; its error ends the asking. The
	// function that it returns is called when they were read, or will not be; then
	// Begin may be called again for those that are left.
	Begin func(ctx context.Context) (end func(), err error)
	// Room, if set, is called before the query number i is read, after Begin. It
	// may wait until ctx ends; its error is the answer to the query.
	Room func(ctx context.Context, i int) error

	answered []bool // nil before the first answer
	count    int
}

// Answer gives a query its answer. It is for those who answer batches; one
// goroutine at a time calls it.
func (b *QueryBatch) Answer(i int, response proto.Message, err error) {
	if b.answered == nil {
		b.answered = make([]bool, len(b.Queries))
	}
	b.answered[i] = true
	b.count++
	b.Emit(i, response, err)
}

// Answered tells whether a query has its answer.
func (b *QueryBatch) Answered(i int) bool { return b.answered != nil && b.answered[i] }

// Left is how many queries have no answer yet.
func (b *QueryBatch) Left() int { return len(b.Queries) - b.count }

// QueryBatch answers queries from this node's replica of a shard. They share one
// ReadIndex round and one iterator, but for those that turn out to be long and have
// to wait for their turn: see turns. Errors are those of Read, and of Begin; that too
// many long reads wait is a query's own error, a *BusyError.
func (h *Host) QueryBatch(ctx context.Context, id ShardID, b *QueryBatch) error {
	s, err := h.shard(id)
	if err != nil {
		return err
	}
	var long []int
	err = h.readFrom(ctx, s, b.Consistency, func(v *View) (err error) {
		long, err = v.answerBatch(ctx, b, h.turns)
		return err
	})
	for _, i := range long {
		if err != nil {
			break
		}
		err = h.answerLong(ctx, s, b, i)
	}
	if b.Left() == 0 {
		return nil
	}
	return err
}

// answerLong answers one query when its turn has come. The replica was current when
// the others were answered, so it is current enough; but it may be gone meanwhile.
func (h *Host) answerLong(ctx context.Context, s *shard, b *QueryBatch, i int) error {
	var lost error
	response, err := h.turns.atLength(ctx, b.Tenant, s.id, func(interrupted func() error) (response proto.Message, err error) {
		if present, err := h.shard(s.id); err != nil || present != s {
			lost = notFound(s.id)
			return nil, lost
		}
		lost = h.readPresent(s, func(v *View) error {
			response, err = v.answer(&b.Queries[i], interrupted)
			return nil
		})
		return response, err
	})
	if lost == nil {
		b.Answer(i, response, err)
	}
	return lost
}

// answerBatch answers the queries that are not answered yet. Those that are long it
// leaves, and returns their places.
func (v *View) answerBatch(ctx context.Context, b *QueryBatch, t *turns) (long []int, err error) {
	if b.Begin != nil {
		end, err := b.Begin(ctx)
		if err != nil {
			return nil, err
		}
		defer end()
	}
	for i := range b.Queries {
		if b.Answered(i) {
			continue
		}
		if b.Room != nil {
			if err := b.Room(ctx, i); err != nil {
				b.Answer(i, nil, err)
				continue
			}
		}
		response, err := v.answerShort(ctx, b, i, t)
		if errors.Is(err, errLong) {
			long = append(long, i)
			continue
		}
		b.Answer(i, response, err)
	}
	return long, nil
}

// answerShort answers one query, or says that it is long.
func (v *View) answerShort(ctx context.Context, b *QueryBatch, i int, t *turns) (proto.Message, error) {
	q := &b.Queries[i]
	if _, one := q.Request.(*flotillav1.GetRequest); one { // what there is most of
		return v.answer(q, ctx.Err)
	}
	if b.Tenant == tenancy.SystemTenant { // the platform waits for no tenant
		return v.answer(q, ctx.Err)
	}
	return t.briefly(ctx, b.Tenant, func(interrupted func() error) (proto.Message, error) { return v.answer(q, interrupted) })
}

// A Querier answers batches: a Host, or what stands for the hosts of other nodes.
type Querier interface {
	QueryBatch(ctx context.Context, shard ShardID, b *QueryBatch) error
}

// Ask asks one query.
func Ask(ctx context.Context, from Querier, shard ShardID, tenant tenancy.TenantID, c Consistency, q Query) (proto.Message, error) {
	var response proto.Message
	var refused error
	batch := &QueryBatch{
		Tenant: tenant, Consistency: c, Queries: []Query{q},
		Emit: func(_ int, r proto.Message, err error) { response, refused = r, err },
	}
	if err := from.QueryBatch(ctx, shard, batch); err != nil {
		return nil, err
	}
	return response, refused
}

// Query asks this node's replica of a shard one query without bounds, for the
// platform itself.
func (h *Host) Query(ctx context.Context, id ShardID, ns tenancy.NamespaceID, c Consistency, request proto.Message) (proto.Message, error) {
	return Ask(ctx, h, id, tenancy.SystemTenant, c, Query{Namespace: ns, Request: request})
}
