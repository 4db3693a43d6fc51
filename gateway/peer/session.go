package peer

import (
	"context"
	"errors"
	"sync"
	"time"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
)

// A session is one stream to a node, from its beginning to its end, and what the
// node was asked on it and has not answered.
//
// The link's sender registers operations, writes them and says so; the receiver
// answers them. What was being written when the stream ended is left for the
// sender, who alone knows whether it was written (E1).
type session struct {
	node   string
	stream internalv1.PeerService_ExchangeClient
	cancel func(error)
	// wake tells the sender that there may be room again, or that the session has
	// ended.
	wake func()

	mu      sync.Mutex
	pending map[uint64]*operation
	bytes   int // of the requests in pending
	lastID  uint64
	ended   error
	// closing is set when the node takes no more operations.
	closing bool
	// heard is when the node last said something, or was asked something again.
	heard time.Time
}

// register gives the operations ids and counts them as asked.
func (s *session) register(ops []*operation, ids []uint64) []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range ops {
		s.lastID++
		s.pending[s.lastID] = op
		s.bytes += op.bytes
		ids = append(ids, s.lastID)
	}
	return ids
}

// wrote tells what became of operations that were registered. Those that were not
// written, and those whose session ended meanwhile, are ended.
func (s *session) wrote(ops []*operation, ids []uint64, err error) {
	s.mu.Lock()
	ended := s.ended
	lost := ops[:0:0]
	for i, op := range ops {
		op.sent = err == nil
		if _, ok := s.pending[ids[i]]; ok && (err != nil || ended != nil) {
			delete(s.pending, ids[i])
			s.bytes -= op.bytes
			lost = append(lost, op)
		}
	}
	s.mu.Unlock()
	for _, op := range lost {
		if err != nil {
			op.fail(unreachable(s.node, err))
		} else {
			op.lose(unreachable(s.node, ended))
		}
	}
}

// full tells whether no more may be asked before something is answered.
func (s *session) full(cfg *PoolConfig) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended == nil && (len(s.pending) >= cfg.InFlightMax || s.bytes >= cfg.InFlightBytesMax)
}

// over tells why nothing is to be written any more, nil while it may.
func (s *session) over() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended != nil:
		return unreachable(s.node, s.ended)
	case s.closing:
		return unreachable(s.node, shards.ErrStopping)
	default:
		return nil
	}
}

// hear counts the silence of the node from now on.
func (s *session) hear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = time.Now()
}

// receive gives out answers until the stream ends, and then ends the session.
func (s *session) receive() {
	for {
		message, err := s.stream.Recv()
		if err != nil {
			if cause := context.Cause(s.stream.Context()); cause != nil && !errors.Is(cause, context.Canceled) {
				err = cause // the link's own reason
			}
			s.end(err)
			return
		}
		s.answers(message)
	}
}

func (s *session) answers(message *internalv1.ExchangeResponse) {
	s.mu.Lock()
	s.heard = time.Now()
	if message.GetClosing() {
		s.closing = true
	}
	s.mu.Unlock()
	for _, a := range message.GetAnswers() {
		if op := s.answered(a.GetId()); op != nil && op.answer(s.node, a) {
			s.forget(a.GetId())
		}
	}
	s.wake()
}

// answered returns the operation that an answer is for, if it is still waited
// for. A command has one answer, so it is forgotten before it gets it: nobody
// else ends it then.
func (s *session) answered(id uint64) *operation {
	s.mu.Lock()
	defer s.mu.Unlock()
	op := s.pending[id]
	if op != nil && op.call != nil {
		delete(s.pending, id)
		s.bytes -= op.bytes
	}
	return op
}

// forget takes an operation that is over off what the node was asked.
func (s *session) forget(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if op := s.pending[id]; op != nil {
		delete(s.pending, id)
		s.bytes -= op.bytes
	}
}

// end ends the session: everything that was written and not answered is lost.
func (s *session) end(err error) {
	s.mu.Lock()
	if s.ended != nil {
		s.mu.Unlock()
		return
	}
	s.ended = err
	var lost []*operation
	for id, op := range s.pending {
		if op.sent {
			delete(s.pending, id)
			lost = append(lost, op)
		}
	}
	s.mu.Unlock()
	s.cancel(err)
	for _, op := range lost {
		op.lose(unreachable(s.node, err))
	}
	s.wake()
}

var (
	errSilent = errors.New("it was silent for too long")
	errLate   = errors.New("it did not answer in time")
)

// lateAfter is how long after its deadline an operation that was asked still may
// be answered: a command may be on its way in the log.
const lateAfter = time.Second

// sweep ends what was not answered in time, and returns for how long the node has
// been silent and how much is asked of it.
func (s *session) sweep(now time.Time) (silent time.Duration, asked int) {
	s.mu.Lock()
	var late []*operation
	for id, op := range s.pending {
		if op.sent && now.After(op.deadline.Add(lateAfter)) {
			delete(s.pending, id)
			s.bytes -= op.bytes
			late = append(late, op)
		}
	}
	silent, asked = now.Sub(s.heard), len(s.pending)
	s.mu.Unlock()
	for _, op := range late {
		op.lose(unreachable(s.node, errLate))
	}
	if len(late) > 0 {
		s.wake()
	}
	return silent, asked
}

// unreachable is why a node was not asked, or did not answer.
func unreachable(node string, cause error) error {
	return &shards.UnreachableError{Node: node, Cause: cause}
}
