package peer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/fair"
	"github.com/flotillakv/flotilla/tenancy"
)

// A link is how one node is asked: the lines of those who wait, one goroutine that
// writes what goes next, and the session that it is written to.
//
// When a session cannot be begun the link is down: it refuses at once, so that
// callers turn elsewhere, and tries again in the background, with pauses, for as
// long as callers come.
type link struct {
	cfg  *PoolConfig
	node string
	// ctx is that of all its streams; canceling it ends the link.
	ctx    context.Context //nolint:containedctx // the link's own life
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	changed sync.Cond // there may be something for the sender
	conn    *grpc.ClientConn
	queue   *fair.Queue[tenancy.TenantID, *operation]
	closed  error
	session *session // nil if there is none
	// flight is that of the session, or of the next one.
	flight *flight
	// down is why no session could be begun, nil if the last one could be; then
	// none is tried before retryAt, and pause is what comes after that.
	down    error
	retryAt time.Time
	pause   time.Duration
	// watches is how many streams of watches are open. They have a connection of
	// their own, nil until it is needed: see watchWindowBytes.
	watches   int
	watchConn *grpc.ClientConn
	// ping is set when a session, or a sign of life on it, is wanted.
	ping     bool
	sweeping bool // the timer of sweep runs

	workers sync.WaitGroup
}

// The pauses between attempts to reach a node that is down.
const (
	pauseMin = 20 * time.Millisecond
	pauseMax = time.Second
)

func newLink(ctx context.Context, cfg *PoolConfig, node string) (*link, error) {
	l := &link{cfg: cfg, node: node, queue: fair.New[tenancy.TenantID, *operation](cfg.Queue, tenancy.SystemTenant), pause: pauseMin}
	l.changed.L, l.flight = &l.mu, newFlight(cfg)
	conn, err := dial(cfg, node, windowBytes)
	if err != nil {
		return nil, fmt.Errorf("prepare the connection to node %s: %w", node, err)
	}
	l.conn = conn
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.workers.Go(l.send)
	return l, nil
}

// close ends the link: what waits fails with the error, and what was written and
// is not answered has an unknown outcome.
func (l *link) close(err error) {
	l.mu.Lock()
	l.closed = err
	l.changed.Broadcast()
	l.mu.Unlock()
	l.cancel(err)
	l.workers.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.conn.Close() // nothing is on it any more
	if l.watchConn != nil {
		_ = l.watchConn.Close() // its streams end
	}
}

// push puts an operation in its tenant's line. An error says that it was refused.
func (l *link) push(op *operation) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.reachable(); err != nil {
		return err
	}
	idle := !l.queue.Ready()
	if err := l.queue.Push(op.tenant, op.weight(), op, op.bytes); err != nil {
		queue := "node"
		if errors.Is(err, fair.ErrTenantFull) {
			queue = "tenant"
		}
		return &shards.BusyError{Shard: op.shard, Queue: queue, RetryAfter: 50 * time.Millisecond}
	}
	if idle && l.queue.Ready() {
		l.changed.Signal()
	}
	l.startSweeping()
	return nil
}

// reachable refuses while the link is down, and has it try again when it is time.
// It needs mu.
func (l *link) reachable() error {
	switch {
	case l.closed != nil:
		return l.closed
	case l.down == nil:
		return nil
	case !l.ping && !time.Now().Before(l.retryAt):
		l.ping = true
		l.changed.Signal()
	}
	return l.down
}

// wake has the sender look again.
func (l *link) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed.Signal()
}

// send writes one message after the other until the link is closed.
func (l *link) send() {
	w := &writer{link: l}
	for {
		ops, err := l.next(w.ops[:0])
		if err != nil {
			l.leaveSession()
			l.failWaiting(err)
			return
		}
		s, err := l.open()
		if err == nil {
			err = w.write(s, ops)
		} else {
			endAll(ops, err)
			l.landed(ops)
		}
		if err != nil {
			l.leaveSession()
			l.failWaiting(err)
		}
	}
}

// next waits until there is something to write for which there is room, and takes
// those operations that go next: none to ask for a sign of life, or to begin anew.
func (l *link) next(buf []*operation) ([]*operation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if l.session != nil && l.session.over() != nil {
			_ = l.forsake().stream.CloseSend() // it never fails
		}
		switch {
		case l.closed != nil:
			return nil, l.closed
		case l.ping:
			l.ping = false
			return nil, nil
		case l.queue.Ready():
			if ops := l.queue.TakeIf(buf, messageOperations, messageBytes, l.flight.begin); len(ops) > 0 {
				return ops, nil
			}
			continue // all lines are aside by now
		}
		l.changed.Wait()
	}
}

// failWaiting ends all that waits in line and was not written.
func (l *link) failWaiting(err error) {
	var ops []*operation
	for {
		l.mu.Lock()
		l.resumeAll()
		ops = l.queue.Take(ops[:0], messageOperations, messageBytes)
		l.mu.Unlock()
		if len(ops) == 0 {
			return
		}
		endAll(ops, err)
	}
}

// endAll ends operations that were not written.
func endAll(ops []*operation, err error) {
	for _, op := range ops {
		if op.take() {
			op.fail(err)
		}
	}
}

// leaveSession writes no more to the session. What it was asked is still answered.
func (l *link) leaveSession() {
	l.mu.Lock()
	s := l.forsake()
	l.mu.Unlock()
	if s != nil {
		_ = s.stream.CloseSend() // it never fails
	}
}

// open returns the session, or begins one.
func (l *link) open() (*session, error) {
	l.mu.Lock()
	s, conn := l.session, l.conn
	l.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := l.begin(conn)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.fall(err)
		return nil, l.down
	}
	if l.down != nil {
		l.cfg.Log.Info("node is reached again", "node_id", l.node)
	}
	l.down, l.pause = nil, pauseMin
	l.session = s
	l.startSweeping()
	l.workers.Go(s.receive)
	return s, nil
}

// fall notes that the node cannot be reached now. It needs mu.
func (l *link) fall(cause error) {
	l.down = unreachable(l.node, cause)
	l.retryAt = time.Now().Add(l.pause/2 + rand.N(l.pause)) //nolint:gosec // spreads load, guards nothing
	l.pause = min(2*l.pause, pauseMax)
}

// begin begins a session on a connection, which is made if need be.
func (l *link) begin(conn *grpc.ClientConn) (*session, error) {
	ctx, cancel := context.WithCancelCause(l.ctx)
	// A stream has no deadline of its own, so its beginning is given one.
	late := time.AfterFunc(l.cfg.ConnectTimeout, func() { cancel(errSilent) })
	stream, err := internalv1.NewPeerServiceClient(conn).Exchange(ctx)
	if err == nil {
		// Once the node has taken the stream the library never begins it anew by
		// itself, which would hide what was written and what was not.
		if header, headerErr := stream.Header(); header == nil || headerErr != nil {
			_, err = stream.Recv() // tells why
		}
	}
	if !late.Stop() {
		cancel(errSilent) // the timer is about to, or has
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err != nil {
		cancel(err)
		return nil, err
	}
	return &session{
		node: l.node, stream: stream, cancel: cancel, wake: l.wake, landed: l.landed,
		pending: make(map[uint64]*operation), heard: time.Now(),
	}, nil
}
