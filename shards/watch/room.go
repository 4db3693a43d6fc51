package watch

import (
	"context"
	"fmt"
)

// waitingAnswersMax is how many answers to requests may wait for the caller to
// take them, as in etcd, before no more requests are read. Answers that nobody
// asked for, as those of watches that end, are one for each watch at most.
const waitingAnswersMax = 16

// Room waits until the stream has room for the answer to one more request. Who
// reads requests, which is one goroutine, calls it before each, so that a caller
// that asks and takes no answers is not heard any more. Its error is that of ctx.
func (s *Stream) Room(ctx context.Context) error {
	for {
		s.mu.Lock()
		room := len(s.answers) < waitingAnswersMax || s.ended != nil
		s.mu.Unlock()
		if room {
			return nil
		}
		select {
		case <-s.room:
		case <-ctx.Done():
			return fmt.Errorf("wait for answers to be taken: %w", context.Cause(ctx))
		}
	}
}

// makeRoom tells Room that answers were taken, or that no more are given. It
// needs mu.
func (s *Stream) makeRoom() {
	select {
	case s.room <- struct{}{}:
	default: // it has a token already
	}
}
