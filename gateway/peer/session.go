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
	// landed is told, without mu, what is pending no more: each operation once.
	landed func([]*operation)
	// wake tells the sender that the session has ended, or takes no more.
	wake func()

	mu      sync.Mutex
	pending map[uint64]*operation
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
	s.landed(lost)
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
	var answered []*operation
	for {
		message, err := s.stream.Recv()
		if err != nil {
			if cause := context.Cause(s.stream.Context()); cause != nil && !errors.Is(cause, context.Canceled) {
				err = cause // the link's own reason
			}
			s.end(err)
			return
		}
		answered = s.answers(message, answered[:0])
		s.landed(answered)
		clear(answered)
	}
}

// answers gives out the answers of a message. It appends those operations that have
// all of theirs.
func (s *session) answers(message *internalv1.ExchangeResponse, answered []*operation) []*operation {
	s.mu.Lock()
	s.heard = time.Now()
	if message.GetClosing() {
		s.closing = true
	}
	s.mu.Unlock()
	for _, a := range message.GetAnswers() {
		op := s.answered(a.GetId())
		if op != nil && op.answer(s.node, a) && (op.call != nil || s.forget(a.GetId())) {
			answered = append(answered, op)
		}
	}
	if message.GetClosing() {
		s.wake()
	}
	return answered
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
	}
	return op
}

// forget takes an operation that is over off what the node was asked; false if it
// was taken off before.
func (s *session) forget(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.pending[id]
	delete(s.pending, id)
	return ok
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
	s.landed(lost)
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
			late = append(late, op)
		}
	}
	silent, asked = now.Sub(s.heard), len(s.pending)
	s.mu.Unlock()
	for _, op := range late {
		op.lose(unreachable(s.node, errLate))
	}
	s.landed(late)
	return silent, asked
}

// unreachable is why a node was not asked, or did not answer.
func unreachable(node string, cause error) error {
	return &shards.UnreachableError{Node: node, Cause: cause}
}
