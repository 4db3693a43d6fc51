package peer

import (
	"errors"
	"sync"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

// unsentBytesHard is when a stream is given up whose answers are not taken: those
// of commands come while shards apply, where nothing can wait.
const unsentBytesHard = 256 << 20

var errNotTaken = errors.New("the answers are not taken")

// answers gathers the answers of one stream, and bounds what it has begun.
type answers struct {
	cfg *ServerConfig

	mu sync.Mutex
	// changed is signaled when there is something to send, something was sent, and
	// at the end.
	changed sync.Cond
	ready   []*internalv1.PeerAnswer
	sizes   []int
	// begun is how many commands and queries are not answered, and begunBytes the
	// bytes of the operations that they are in.
	begun, begunBytes int
	unsent            int64
	alive             bool // a sign of life was asked for
	closing           bool // is to be said
	// drained is set when no more is begun: send returns when all is answered.
	drained bool
	failed  error
}

func newAnswers(cfg *ServerConfig) *answers {
	a := &answers{cfg: cfg}
	a.changed.L = &a.mu
	return a
}

// room waits until more may be begun, and returns why nothing ever will.
func (a *answers) room() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.failed == nil && a.begun > 0 &&
		(a.begun >= a.cfg.UnansweredMax || a.begunBytes >= a.cfg.UnansweredBytesMax || a.unsent >= a.cfg.UnsentBytesMax) {
		a.changed.Wait()
	}
	return a.failed
}

// begin counts commands or queries, and the bytes of their operation.
func (a *answers) begin(count, bytes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.begun += count
	a.begunBytes += bytes
}

// add gives the answer to some of what was begun. It does not block.
func (a *answers) add(answer *internalv1.PeerAnswer, count, bytes int) (size int) {
	size = proto.Size(answer)
	if size > answerBytesMax {
		refused := &mvcc.TooLargeError{Limit: "answer_bytes_max", Value: uint64(size), Max: answerBytesMax}
		answer.Answer = &internalv1.PeerAnswer_Error{Error: encodeError(refused)}
		size = proto.Size(answer)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.begun -= count
	a.begunBytes -= bytes
	if a.unsent > unsentBytesHard {
		a.fail(errNotTaken)
	}
	if a.failed != nil {
		return size
	}
	a.ready = append(a.ready, answer)
	a.sizes = append(a.sizes, size)
	a.unsent += int64(size)
	if len(a.ready) == 1 || a.begun == 0 {
		a.changed.Broadcast()
	}
	return size
}

// sendable waits until there is room for one more answer to a query.
func (a *answers) sendable() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.failed == nil && a.unsent >= a.cfg.UnsentBytesMax {
		a.changed.Wait()
	}
	return a.failed
}

// say has the other node told that this one lives, and whether it is about to
// stop.
func (a *answers) say(closing bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.alive, a.closing = true, a.closing || closing
	a.changed.Broadcast()
}

// drain lets send return once all that was begun is answered and sent.
func (a *answers) drain() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drained = true
	a.changed.Broadcast()
}

// end ends everything.
func (a *answers) end(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fail(err)
}

// fail needs mu.
func (a *answers) fail(err error) {
	if a.failed == nil {
		a.failed = err
	}
	a.ready, a.sizes, a.unsent = nil, nil, 0
	a.changed.Broadcast()
}

// send sends what is ready until the stream is drained or fails.
func (a *answers) send(send func(*internalv1.ExchangeResponse) error) error {
	var message internalv1.ExchangeResponse
	var ready []*internalv1.PeerAnswer
	var sizes []int
	for {
		var more bool
		var err error
		ready, sizes, more, err = a.take(&message, ready, sizes)
		if err != nil || !more {
			return err
		}
		for start := 0; start == 0 || start < len(ready); {
			end, bytes := start, 0
			for end < len(ready) && (end == start || bytes+sizes[end] <= messageBytes) {
				bytes += sizes[end]
				end++
			}
			message.Answers = ready[start:end]
			if err := send(&message); err != nil {
				a.end(err)
				return err
			}
			message.Closing = false
			a.sent(bytes)
			if start = end; start == 0 {
				break // a sign of life
			}
		}
	}
}

// take waits until there is something to send and takes all of it, giving the
// slices of the last one for reuse.
func (a *answers) take(into *internalv1.ExchangeResponse, ready []*internalv1.PeerAnswer, sizes []int) (
	_ []*internalv1.PeerAnswer, _ []int, more bool, _ error,
) {
	clear(ready)
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.ready) == 0 && !a.alive && a.failed == nil && (!a.drained || a.begun > 0) {
		a.changed.Wait()
	}
	if a.failed != nil {
		return nil, nil, false, a.failed
	}
	more = len(a.ready) > 0 || a.alive
	into.Closing, a.alive, a.closing = a.closing, false, false
	ready, a.ready = a.ready, ready[:0]
	sizes, a.sizes = a.sizes, sizes[:0]
	return ready, sizes, more, nil
}

func (a *answers) sent(bytes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unsent -= int64(bytes)
	a.changed.Broadcast()
}
