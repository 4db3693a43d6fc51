package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/unread"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/tenancy"
)

const (
	// operationTimeout is how long an operation of a batch or pipeline may
	// take.
	operationTimeout = 10 * time.Second
	// pipelineOperationsMax bounds the operations of one pipeline that are not
	// yet answered. A caller that sends more is not read from until some are.
	pipelineOperationsMax = 16_384
	// pipelineBytesMax bounds their requests and the answers not yet sent, in
	// bytes, likewise.
	pipelineBytesMax = 32 << 20
	// pipelineAnswerBytesMax is from how many bytes of answers not yet sent a
	// pipeline's reads wait for the caller to take some.
	pipelineAnswerBytesMax = 16 << 20
	// pipelineUnsentBytesMax bounds the answers not yet sent, those of writes
	// included. They come while the shard applies, where nothing can wait: a
	// caller that asks for so much and does not take it loses its stream, and so
	// does one whose tenant has no room left for them (see unread.Answers).
	pipelineUnsentBytesMax = 128 << 20
	// pipelineMessageBytes is when an answering message is full.
	pipelineMessageBytes = 1 << 20
)

// Pipeline implements KVService. It reads and starts operations on the RPC's
// own goroutine; another sends what is answered, as much as there is at once.
func (h *kvHandler) Pipeline(ctx context.Context, stream *connect.BidiStream[flotillav1.PipelineRequest, flotillav1.PipelineResponse]) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	principal, ok := tenancy.FromContext(ctx)
	if !ok {
		return tenancy.ErrUnauthenticated
	}
	ofTenant := h.unread.Open(principal.Tenant)
	defer ofTenant.Close()
	answers := newAnswerQueue(ofTenant)
	defer answers.giveUp()
	stall := intercept.NewStall(ctx, h.stallMax)
	defer stall.Close()
	sent := make(chan error, 1)
	go func() {
		err := answers.send(func(message *flotillav1.PipelineResponse) error {
			return stall.Send(func() error { return stream.Send(message) })
		})
		if err != nil {
			cancel(err)
		}
		sent <- err
	}()
	pipeline := h.kv.NewPipeline(operationTimeout, func(op *flotillav1.Operation, response proto.Message, err error) {
		if !answers.add(h.resultOf(ctx, op, response, err), operationBytes(op)) {
			cancel(fmt.Errorf("%w: its answers are not taken", shards.ErrOutcomeUnknown))
		}
	}, answers.room)
	if h.apiURL != nil {
		pipeline.Elsewhere(func(namespace, node string) {
			if url := h.apiURL(node); url != "" {
				answers.tell(&flotillav1.NamespaceLeader{Namespace: namespace, ApiUrl: url})
			}
		})
	}
	err := h.receive(ctx, stream, answers, func(ops []*flotillav1.Operation) { pipeline.Start(ctx, ops) })
	pipeline.Wait()
	answers.close()
	return errors.Join(err, <-sent)
}

// receive starts operations as they come, until the caller closes its side or
// the node begins to stop.
func (h *kvHandler) receive(
	ctx context.Context, stream *connect.BidiStream[flotillav1.PipelineRequest, flotillav1.PipelineResponse],
	answers *answerQueue, start func([]*flotillav1.Operation),
) error {
	return receiveEach(ctx, stream.Receive, h.auth, h.stopping, func(message *flotillav1.PipelineRequest) error {
		if n := len(message.GetOperations()); n > pipelineOperationsMax {
			return &tenancy.TooLargeError{Limit: "operations of a message", Value: uint64(n), Max: pipelineOperationsMax}
		}
		size := 0
		for _, op := range message.GetOperations() {
			size += operationBytes(op)
		}
		if err := answers.admit(ctx, len(message.GetOperations()), size); err != nil {
			return err
		}
		start(message.GetOperations())
		return nil
	})
}

// overheadBytes is what an operation or an answer takes besides keys and values.
const overheadBytes = 64

// operationBytes is about how many bytes a request takes. It is asked twice for
// each operation, so those that are frequent and simple are not encoded for it.
func operationBytes(op *flotillav1.Operation) int {
	switch o := op.GetOperation().(type) {
	case *flotillav1.Operation_Get:
		return overheadBytes + len(o.Get.GetKey())
	case *flotillav1.Operation_Put:
		return overheadBytes + len(o.Put.GetKey()) + len(o.Put.GetValue())
	default:
		return overheadBytes + proto.Size(op)
	}
}

// resultBytes is about how many bytes an answer takes, and never less.
func resultBytes(result *flotillav1.OperationResult) int {
	switch r := result.GetResult().(type) {
	case *flotillav1.OperationResult_Get:
		return 2*overheadBytes + len(r.Get.GetKv().GetKey()) + len(r.Get.GetKv().GetValue())
	case *flotillav1.OperationResult_Put:
		if r.Put.GetPrevKv() == nil {
			return overheadBytes
		}
	}
	return overheadBytes + proto.Size(result)
}

// answerQueue gathers a pipeline's answers and bounds what is on its way.
type answerQueue struct {
	mu sync.Mutex
	// changed is signaled when an answer is added or sent, and at close.
	changed sync.Cond
	ready   []*flotillav1.OperationResult
	sizes   []int // of the answers in ready
	// leaders go with the next answers, at most leadersMax.
	leaders []*flotillav1.NamespaceLeader
	// operations and bytes are on their way: admitted and not sent.
	operations, bytes int
	// unsent is the bytes of the answers that are not sent; it changes under
	// mu, and is read without it.
	unsent atomic.Int64
	// ofTenant is the same for all that the tenant's callers leave unread.
	ofTenant *unread.Part
	closed   bool
	// overflowed is set once an answer was dropped: no more are kept then.
	overflowed bool
}

func newAnswerQueue(ofTenant *unread.Part) *answerQueue {
	q := &answerQueue{ofTenant: ofTenant}
	q.changed.L = &q.mu
	return q
}

// admit waits until there is room for more operations.
func (q *answerQueue) admit(ctx context.Context, operations, bytes int) error {
	stop := context.AfterFunc(ctx, q.wake)
	defer stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.operations > 0 && (q.operations+operations > pipelineOperationsMax || q.bytes+bytes > pipelineBytesMax) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		q.changed.Wait()
	}
	q.operations += operations
	q.bytes += bytes
	return nil
}

// room waits until there is room for one more answer. It refuses one while what is
// unread elsewhere leaves none.
func (q *answerQueue) room(ctx context.Context) error {
	if q.ofTenant.Full() {
		return &tenancy.QuotaError{Limit: "unsent_answer_bytes_max", Value: uint64(q.ofTenant.Max()), RetryAfter: time.Second}
	}
	if q.unsent.Load() < pipelineAnswerBytesMax {
		return nil
	}
	stop := context.AfterFunc(ctx, q.wake)
	defer stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.unsent.Load() >= pipelineAnswerBytesMax {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("wait for the caller to take the answers: %w", err)
		}
		q.changed.Wait()
	}
	return nil
}

func (q *answerQueue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.changed.Broadcast()
}

// add queues the answer to an operation whose request had so many bytes.
func (q *answerQueue) add(result *flotillav1.OperationResult, requestBytes int) (kept bool) {
	size := resultBytes(result)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.overflowed = q.overflowed || q.unsent.Load()+int64(size) > pipelineUnsentBytesMax || !q.ofTenant.Take(size)
	if q.overflowed {
		return false
	}
	q.bytes += size - requestBytes
	q.unsent.Add(int64(size))
	q.ready = append(q.ready, result)
	q.sizes = append(q.sizes, size)
	if len(q.ready) == 1 {
		q.changed.Broadcast()
	}
	return true
}

// leadersMax bounds the leaders that wait to be told. They are told again.
const leadersMax = 256

// tell has the next answers say who leads.
func (q *answerQueue) tell(leader *flotillav1.NamespaceLeader) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.leaders) < leadersMax {
		q.leaders = append(q.leaders, leader)
	}
}

// close lets send return once all answers are sent.
func (q *answerQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.changed.Broadcast()
}

// send sends answers until the queue is closed and empty, or sending fails.
func (q *answerQueue) send(send func(*flotillav1.PipelineResponse) error) error {
	var results []*flotillav1.OperationResult
	var sizes []int
	for {
		var leaders []*flotillav1.NamespaceLeader
		results, sizes, leaders = q.take(results, sizes)
		if len(results) == 0 {
			return nil
		}
		for start := 0; start < len(results); {
			end, bytes := start, 0
			for end < len(results) && (end == start || bytes+sizes[end] <= pipelineMessageBytes) {
				bytes += sizes[end]
				end++
			}
			err := send(&flotillav1.PipelineResponse{Results: results[start:end], Leaders: leaders})
			leaders = nil
			q.release(end-start, bytes)
			if err != nil {
				return err
			}
			start = end
		}
	}
}

// take waits for answers and takes all there are, giving the slices of the
// last ones for reuse, and what is to be told with them.
func (q *answerQueue) take(
	results []*flotillav1.OperationResult, sizes []int,
) ([]*flotillav1.OperationResult, []int, []*flotillav1.NamespaceLeader) {
	clear(results)
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) == 0 && !q.closed {
		q.changed.Wait()
	}
	results, q.ready = q.ready, results[:0]
	sizes, q.sizes = q.sizes, sizes[:0]
	leaders := q.leaders
	q.leaders = nil
	return results, sizes, leaders
}

func (q *answerQueue) release(operations, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.operations -= operations
	q.bytes -= bytes
	q.unsent.Add(-int64(bytes))
	q.ofTenant.GiveBack(bytes)
	q.changed.Broadcast()
}

// giveUp drops what is not sent, when nothing is added or sent any more.
func (q *answerQueue) giveUp() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ofTenant.GiveBack(int(q.unsent.Swap(0)))
	q.ready, q.sizes = nil, nil
}
