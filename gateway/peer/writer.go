package peer

import (
	"context"
	"time"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// A writer writes messages for a link, in memory that it uses again and again.
type writer struct {
	link    *link
	ops     []*operation
	ids     []uint64
	message internalv1.ExchangeRequest
	spare   []*internalv1.PeerOperation
}

// write writes operations that were taken off the line as one message. It answers
// for them. An error says that the session cannot be written to any more.
func (w *writer) write(s *session, ops []*operation) error {
	w.ops = ops
	defer func() { clear(w.ops) }() // what was written is not kept while nothing happens
	now := time.Now()
	wanted := ops[:0]
	var dropped []*operation
	for _, op := range ops {
		switch {
		case !op.take():
			dropped = append(dropped, op)
		case now.After(op.deadline):
			op.fail(context.DeadlineExceeded)
			dropped = append(dropped, op)
		default:
			wanted = append(wanted, op)
		}
	}
	w.link.landed(dropped)
	if len(wanted) == 0 && len(ops) > 0 {
		return nil
	}
	if err := s.over(); err != nil {
		failAll(wanted, err)
		w.link.landed(wanted)
		return err
	}
	w.ids = s.register(wanted, w.ids[:0])
	err := s.stream.Send(w.encode(wanted, now))
	for _, op := range w.message.GetOperations() {
		op.Command, op.Queries = nil, nil
	}
	if err != nil {
		err = unreachable(s.node, err)
	}
	s.wrote(wanted, w.ids, err)
	return err
}

func failAll(ops []*operation, err error) {
	for _, op := range ops {
		op.fail(err)
	}
}

// encode makes the message of operations that were registered.
func (w *writer) encode(ops []*operation, now time.Time) *internalv1.ExchangeRequest {
	for len(w.spare) < len(ops) {
		w.spare = append(w.spare, &internalv1.PeerOperation{})
	}
	w.message.Operations = w.spare[:len(ops)]
	for i, op := range ops {
		op.encode(w.ids[i], now, w.spare[i])
	}
	return &w.message
}
