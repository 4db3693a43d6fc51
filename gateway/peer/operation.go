package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/fair"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/tenancy"
)

// operation is a command, or queries that share a state, on its way to a node.
type operation struct {
	shard    shards.ShardID
	tenant   tenancy.TenantID
	deadline time.Time
	// call is set for a command, group for queries.
	call  *shards.Call
	group *group
	bytes int

	// flight is where it counts, from when it was taken off its line.
	flight *flight
	// What follows is guarded by the session's mu.
	sent bool // was written to the stream
}

// weight is that of the tenant's line, 0 if the operation does not say.
func (op *operation) weight() int {
	if op.call == nil {
		return 0
	}
	return op.call.Weight
}

// count is how many commands or queries the operation is.
func (op *operation) count() int {
	if op.call != nil {
		return 1
	}
	return len(op.group.places)
}

// take tells whether the operation is still wanted: then it must be answered.
func (op *operation) take() bool {
	if op.call != nil {
		return op.call.Take()
	}
	return op.group.wanted()
}

// encode fills a message that is used again and again.
func (op *operation) encode(id uint64, now time.Time, into *internalv1.PeerOperation) {
	into.Id, into.ShardId, into.Tenant = id, uint64(op.shard), string(op.tenant)
	into.TimeoutMs = uint64(max(1, op.deadline.Sub(now).Milliseconds()))
	into.Weight = uint32(min(max(op.weight(), 0), fair.WeightMax))
	into.Command, into.FreesSpace, into.Queries = nil, false, nil
	if op.call != nil {
		into.Command, into.FreesSpace = op.call.Command, op.call.FreesSpace
		return
	}
	into.Queries = op.group.queries
}

// fail ends an operation that surely was not applied.
func (op *operation) fail(err error) {
	if op.call != nil {
		op.call.Fail(err)
		return
	}
	op.group.end(err)
}

// lose ends an operation that was written to a stream and got no answer.
func (op *operation) lose(cause error) {
	if op.call != nil {
		op.call.Fail(fmt.Errorf("%w: %w", shards.ErrOutcomeUnknown, cause))
		return
	}
	op.group.end(cause)
}

// answer takes one answer. It returns true when the operation has all.
func (op *operation) answer(node string, a *internalv1.PeerAnswer) (complete bool) {
	if op.call == nil {
		return op.group.answer(node, a)
	}
	if failed, ok := a.GetAnswer().(*internalv1.PeerAnswer_Failed); ok {
		op.call.Fail(decodeError(node, failed.Failed))
		return true
	}
	response, err := decodeAnswer(node, a)
	op.call.Done(machine.Result{Response: response, Err: err})
	return true
}

// group is the queries of one operation. They are part of a batch, which may need
// several.
type group struct {
	queries *internalv1.PeerQueries
	// places are the numbers of the queries in the batch.
	places []int
	// over gets the error that ended the group, nil when all is answered.
	over chan error

	mu       sync.Mutex
	batch    *shards.QueryBatch // nil when the group is over
	answered []bool
	left     int
	bytes    int // of the queries
}

func newGroup(batch *shards.QueryBatch) *group {
	return &group{
		queries: &internalv1.PeerQueries{Serializable: batch.Consistency == shards.Serializable, AnswerBytesMax: groupAnswerBytes},
		batch:   batch, over: make(chan error, 1),
	}
}

// add adds a query of the batch.
func (g *group) add(place int, q *internalv1.PeerQuery, bytes int) {
	g.queries.Queries = append(g.queries.Queries, q)
	g.places = append(g.places, place)
	g.left++
	g.bytes += bytes
}

func (g *group) wanted() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.batch != nil
}

// end ends the group, unless it is over; then nothing of the batch is touched any
// more.
func (g *group) end(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.finish(err)
}

// finish needs mu.
func (g *group) finish(err error) {
	if g.batch != nil {
		g.batch = nil
		g.over <- err
	}
}

var errAnswer = errors.New("the node answered what was not asked")

func (g *group) answer(node string, a *internalv1.PeerAnswer) (complete bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.batch == nil {
		return true
	}
	if failed, ok := a.GetAnswer().(*internalv1.PeerAnswer_Failed); ok {
		g.finish(decodeError(node, failed.Failed))
		return true
	}
	i := int(a.GetQuery())
	if g.answered == nil {
		g.answered = make([]bool, len(g.places))
	}
	if i >= len(g.places) || g.answered[i] {
		g.finish(&shards.UnreachableError{Node: node, Cause: errAnswer})
		return true
	}
	g.answered[i] = true
	g.left--
	if _, ok := a.GetAnswer().(*internalv1.PeerAnswer_Unread); !ok {
		response, err := decodeAnswer(node, a)
		g.batch.Answer(g.places[i], response, err)
	}
	if g.left == 0 {
		g.finish(nil)
	}
	return g.batch == nil
}

// prepare makes the next group of a batch: as many of its queries as go in one.
// Those for which there is no room are answered so. It is empty when none are
// left.
func prepare(ctx context.Context, batch *shards.QueryBatch) (*group, error) {
	g := newGroup(batch)
	for i := range batch.Queries {
		if len(g.places) == groupQueriesMax || g.bytes >= messageBytes {
			break
		}
		if batch.Answered(i) {
			continue
		}
		if batch.Room != nil {
			if err := batch.Room(ctx, i); err != nil {
				batch.Answer(i, nil, err)
				continue
			}
		}
		q, err := encodeQuery(&batch.Queries[i])
		if err != nil {
			return nil, err
		}
		g.add(i, q, bytesOf(&batch.Queries[i]))
	}
	return g, nil
}

// operationOverheadBytes is what an operation takes besides keys and values.
const operationOverheadBytes = 128

// bytesOf is about how many bytes a query takes.
func bytesOf(q *shards.Query) int {
	if get, ok := q.Request.(*flotillav1.GetRequest); ok { // what there is most of
		return operationOverheadBytes + len(get.GetKey())
	}
	return operationOverheadBytes + proto.Size(q.Request)
}
