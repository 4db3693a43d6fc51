package flotilla

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"connectrpc.com/connect"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// How much one message of a pipeline carries. The server takes 4 MiB; a single
// operation may be larger than messageBytesMax.
const (
	messageOperationsMax = 1024
	messageBytesMax      = 1 << 20
	// waitingMax bounds the operations that wait to be sent.
	waitingMax = 65_536
	// restAfter is after how long without operations a stream is ended; it may be
	// twice as long.
	restAfter = time.Minute
	// restMax is how long the server may take to end it, too.
	restMax = 5 * time.Second
	// operationBytesMax is the largest operation that a message can hold. The
	// server would end the stream, and all other calls with it.
	operationBytesMax = 4<<20 - 4096
)

type stream = connect.BidiStreamForClientSimple[flotillav1.PipelineRequest, flotillav1.PipelineResponse]

// A pipeline carries the operations of concurrent calls over one stream, which
// it opens when it is needed, and again after it broke or rested.
//
// While one message is being sent, operations gather for the next: messages
// grow with the load, and a lone call never waits for company.
type pipeline struct {
	open func(context.Context) (*stream, error)
	// learn takes what the server tells of leaders.
	learn func([]*flotillav1.NamespaceLeader)

	mu      sync.Mutex
	wake    chan struct{} // holds a token while operations wait
	waiting []*pending
	closed  bool
	lastID  uint64
	// flying are the operations sent on the present stream, by id.
	flying map[uint64]*pending

	// timers are for the deadlines of calls: a context of its own for each call
	// would cost as much as the rest of it.
	timers sync.Pool

	stop context.CancelFunc
	done sync.WaitGroup
}

// pending is one operation on its way.
type pending struct {
	operation *flotillav1.Operation
	bytes     int
	answered  chan *flotillav1.OperationResult // holds one; closed if the stream broke
	err       error                            // why it was closed
	sent      bool
}

func newPipeline(open func(context.Context) (*stream, error), learn func([]*flotillav1.NamespaceLeader)) *pipeline {
	ctx, stop := context.WithCancel(context.Background()) //nolint:forbidigo // the stream outlives every call; close ends it
	p := &pipeline{open: open, learn: learn, wake: make(chan struct{}, 1), flying: make(map[uint64]*pending), stop: stop}
	p.timers.New = func() any { return time.NewTimer(time.Hour) }
	p.done.Go(func() { p.run(ctx) })
	return p
}

func (p *pipeline) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop()
	p.done.Wait()
}

// do sends an operation of about so many bytes and waits for its answer.
func (p *pipeline) do(ctx context.Context, deadline time.Time, op *flotillav1.Operation, bytes int) (*flotillav1.OperationResult, error) {
	call := &pending{operation: op, bytes: bytes, answered: make(chan *flotillav1.OperationResult, 1)}
	if err := p.enqueue(call); err != nil {
		return nil, err
	}
	timer, _ := p.timers.Get().(*time.Timer)
	timer.Reset(time.Until(deadline))
	defer func() {
		timer.Stop()
		p.timers.Put(timer)
	}()
	select {
	case result, ok := <-call.answered:
		if !ok {
			return nil, call.err
		}
		if result.GetError() != nil {
			return nil, fromProto(result.GetError())
		}
		return result, nil
	case <-ctx.Done():
		return nil, interrupted(context.Cause(ctx), ctx.Err(), p.abandon(call))
	case <-timer.C:
		return nil, interrupted(context.DeadlineExceeded, context.DeadlineExceeded, p.abandon(call))
	}
}

func (p *pipeline) enqueue(call *pending) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return unreachable(ErrClosed, false)
	}
	if call.bytes > operationBytesMax {
		return &Error{
			Code: connect.CodeInvalidArgument, Reason: flotillav1.Reason_REASON_TOO_LARGE,
			Message: fmt.Sprintf("the request has about %d bytes, and a request takes %d: use smaller ones", call.bytes, operationBytesMax),
		}
	}
	if len(p.waiting) >= waitingMax {
		return &Error{
			Code: connect.CodeResourceExhausted, Reason: flotillav1.Reason_REASON_SHARD_BUSY,
			Message: "too many calls of this client wait to be sent",
		}
	}
	p.lastID++
	call.operation.Id = p.lastID
	p.waiting = append(p.waiting, call)
	if len(p.waiting) == 1 {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// abandon forgets a call, and tells whether it was sent.
func (p *pipeline) abandon(call *pending) (sent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.flying, call.operation.GetId())
	if !call.sent {
		for i, other := range p.waiting {
			if other == call {
				p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
				break
			}
		}
	}
	return call.sent
}

// run serves one stream after the other until the pipeline is closed.
func (p *pipeline) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			p.fail(unreachable(ErrClosed, true))
			return
		case <-p.wake:
		}
		if err := p.serve(ctx); err != nil {
			if ctx.Err() != nil {
				err = unreachable(ErrClosed, true)
			}
			p.fail(err)
		}
	}
}

// serve opens a stream and sends what waits, until the stream breaks.
func (p *pipeline) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := p.open(ctx)
	if err != nil {
		return fromConnect(err)
	}
	ended := make(chan struct{})
	var receiveErr error // set before ended is closed
	go func() {
		defer close(ended)
		receiveErr = p.receive(s)
	}()
	sendErr := p.send(ctx, s, ended)
	if errors.Is(sendErr, errResting) {
		timer := time.AfterFunc(restMax, cancel)
		defer timer.Stop()
		closeErr := s.CloseRequest()
		<-ended
		if errors.Is(receiveErr, io.EOF) {
			return nil
		}
		return fromConnect(errors.Join(closeErr, receiveErr))
	}
	if sendErr != nil && !errors.Is(sendErr, io.EOF) {
		// HTTP/2 looks at the context only once the request's body has ended.
		closeErr := s.CloseRequest()
		cancel()
		<-ended
		return fromConnect(errors.Join(sendErr, closeErr))
	}
	// The server ended the stream: why is what the receiver was told.
	<-ended
	return fromConnect(receiveErr)
}

// errResting ends a stream that nobody has used for long.
var errResting = errors.New("the pipeline rests")

// send sends operations as they come. It returns nil or io.EOF when the server
// ended the stream, and errResting when it is to be ended.
func (p *pipeline) send(ctx context.Context, s *stream, ended <-chan struct{}) error {
	var message flotillav1.PipelineRequest
	var calls []*pending
	rest := time.NewTicker(restAfter)
	defer rest.Stop()
	used := true
	for {
		// Callers that are about to call get to: it makes fuller messages.
		runtime.Gosched()
		calls = p.take(calls[:0])
		if len(calls) > 0 {
			used = true
			message.Operations = message.Operations[:0]
			for _, call := range calls {
				message.Operations = append(message.Operations, call.operation)
			}
			if err := s.Send(&message); err != nil {
				return err
			}
			continue
		}
		select {
		case <-p.wake:
		case <-rest.C:
			if !used && p.idle() {
				return errResting
			}
			used = false
		case <-ended:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// idle tells whether no operation waits or is on its way.
func (p *pipeline) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting) == 0 && len(p.flying) == 0
}

// take moves the operations of the next message from waiting to flying.
func (p *pipeline) take(calls []*pending) []*pending {
	p.mu.Lock()
	defer p.mu.Unlock()
	bytes, n := 0, 0
	for n < len(p.waiting) && n < messageOperationsMax {
		call := p.waiting[n]
		if bytes += call.bytes; n > 0 && bytes > messageBytesMax {
			break
		}
		call.sent = true
		p.flying[call.operation.GetId()] = call
		calls = append(calls, call)
		n++
	}
	kept := copy(p.waiting, p.waiting[n:])
	clear(p.waiting[kept:])
	p.waiting = p.waiting[:kept]
	return calls
}

// receive hands answers to their callers until the stream ends.
func (p *pipeline) receive(s *stream) error {
	var calls []*pending
	for {
		message, err := s.Receive()
		if err != nil {
			return err
		}
		p.learn(message.GetLeaders())
		calls = p.land(calls[:0], message.GetResults())
		for i, call := range calls {
			if call != nil {
				call.answered <- message.GetResults()[i]
			}
		}
	}
}

// land appends the calls that wait for the results, nil for one that was given
// up, and forgets them.
func (p *pipeline) land(calls []*pending, results []*flotillav1.OperationResult) []*pending {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, result := range results {
		calls = append(calls, p.flying[result.GetId()])
		delete(p.flying, result.GetId())
	}
	return calls
}

// fail answers all operations with an error. Those that were not sent were
// surely not applied.
func (p *pipeline) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, call := range p.flying {
		delete(p.flying, id)
		call.err = broken(err, true)
		close(call.answered)
	}
	for _, call := range p.waiting {
		call.err = broken(err, false)
		close(call.answered)
	}
	clear(p.waiting)
	p.waiting = p.waiting[:0]
}

// broken is a stream's error as one of its operations sees it.
func broken(err error, sent bool) error {
	var e *Error
	if !errors.As(err, &e) {
		return unreachable(err, sent)
	}
	own := *e
	own.unknown = sent && e.unknown
	return own.typed()
}
