package flotilla

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// renewalStream is LeaseService.KeepAliveStream as a client sees it.
type renewalStream interface {
	Send(request *flotillav1.KeepAliveStreamRequest) error
	Receive() (*flotillav1.KeepAliveStreamResponse, error)
	CloseRequest() error
	CloseResponse() error
	// ended tells the stream's endpoint how a round ended.
	ended(err error)
}

// placedStream is a stream to an endpoint.
type placedStream struct {
	*connect.BidiStreamForClientSimple[flotillav1.KeepAliveStreamRequest, flotillav1.KeepAliveStreamResponse]
	visitor visitor
}

func (s *placedStream) ended(err error) { s.visitor.ended(err) }

// openRenewals opens a stream to the present endpoint.
func (c *Client) openRenewals(ctx context.Context) (renewalStream, error) {
	s := &placedStream{visitor: visitor{all: c.endpoints}}
	s.visitor.visit(c.endpoints.present())
	var err error
	s.BidiStreamForClientSimple, err = c.leases.KeepAliveStream(ctx)
	return s, err
}

const (
	// roundTimeout is how long the server may take to answer a round.
	roundTimeout = 5 * time.Second
	// roundMessagesMax is how many namespaces' leases are renewed in a round.
	roundMessagesMax = 1000
)

// A renewer renews leases round by round. It keeps a stream from round to
// round, and opens another one after it broke.
type renewer struct {
	open  func(context.Context) (renewalStream, error)
	begin chan []*Lease  // takes the leases of one round
	end   chan []renewal // gives what became of them

	stream renewalStream // nil if there is none
	cancel context.CancelFunc
}

// renewal is what became of one renewal.
type renewal struct {
	lease *Lease
	// sent is when it was asked for.
	sent time.Time
	// ttl is what the server answered, 0 if there is no such lease any more;
	// negative if it was not asked because of another one's error.
	ttl time.Duration
	err error
}

const notAsked time.Duration = -1

func newRenewer(open func(context.Context) (renewalStream, error)) *renewer {
	return &renewer{open: open, begin: make(chan []*Lease, 1), end: make(chan []renewal, 1)}
}

func (r *renewer) run(ctx context.Context) {
	defer r.hangUp()
	for {
		select {
		case <-ctx.Done():
			return
		case leases := <-r.begin:
			r.end <- r.round(ctx, leases)
		}
	}
}

// round renews leases once.
func (r *renewer) round(ctx context.Context, leases []*Lease) []renewal {
	messages := messagesOf(leases)
	outcomes := make([]renewal, 0, len(leases))
	sent := time.Now()
	err := r.ask(ctx, messages)
	answered := 0
	for err == nil && answered < min(len(messages), roundMessagesMax) {
		if outcomes, err = r.hear(messages[answered], sent, outcomes); err == nil {
			answered++
		}
	}
	if err == nil {
		r.stream.ended(nil)
		return appendUnanswered(outcomes, messages[answered:], sent, nil)
	}
	var told *Error
	if r.stream != nil && ctx.Err() == nil {
		judged := err
		if errors.As(err, &told) && told.Code == connect.CodeCanceled {
			judged = interrupted(context.DeadlineExceeded, context.DeadlineExceeded, true) // limit broke it
		}
		r.stream.ended(judged)
	}
	r.hangUp()
	if answered < len(messages) && errors.As(err, &told) && told.Reason != flotillav1.Reason_REASON_UNSPECIFIED {
		// The server's word on one message: the others are tried again at once.
		outcomes = appendUnanswered(outcomes, messages[answered:answered+1], sent, err)
		return appendUnanswered(outcomes, messages[answered+1:], sent, nil)
	}
	return appendUnanswered(outcomes, messages[answered:], sent, err)
}

func appendUnanswered(outcomes []renewal, messages [][]*Lease, sent time.Time, err error) []renewal {
	for _, message := range messages {
		for _, l := range message {
			outcomes = append(outcomes, renewal{lease: l, sent: sent, ttl: notAsked, err: err})
		}
	}
	return outcomes
}

// messagesOf divides leases into messages of one namespace each. Those that
// failed before come last, because an error ends the stream.
func messagesOf(leases []*Lease) [][]*Lease {
	byNamespace := make(map[string][]*Lease)
	for _, l := range leases {
		byNamespace[l.leases.namespace] = append(byNamespace[l.leases.namespace], l)
	}
	var messages [][]*Lease
	for _, of := range byNamespace {
		// The server writes them in this order.
		slices.SortFunc(of, func(a, b *Lease) int { return cmp.Compare(a.id, b.id) })
		messages = slices.AppendSeq(messages, slices.Chunk(of, keepAliveIDsMax))
	}
	slices.SortFunc(messages, func(a, b []*Lease) int {
		return cmp.Compare(a[0].keeping.failures, b[0].keeping.failures)
	})
	return messages
}

// ask sends the messages of a round.
func (r *renewer) ask(ctx context.Context, messages [][]*Lease) error {
	if r.stream == nil {
		ctx, cancel := context.WithCancel(ctx)
		stream, err := r.open(ctx)
		if err != nil {
			cancel()
			return fromConnect(err)
		}
		r.stream, r.cancel = stream, cancel
	}
	defer r.limit()()
	for i, message := range messages {
		if i == roundMessagesMax {
			break
		}
		req := &flotillav1.KeepAliveRequest{Namespace: message[0].leases.namespace, Ids: make([]int64, len(message))}
		for i, l := range message {
			req.Ids[i] = l.id
		}
		if err := r.stream.Send(&flotillav1.KeepAliveStreamRequest{KeepAlive: req}); err != nil {
			break // why is what the next answer is
		}
	}
	return nil
}

// hear receives the answer to a message.
func (r *renewer) hear(message []*Lease, sent time.Time, outcomes []renewal) ([]renewal, error) {
	defer r.limit()()
	response, err := r.stream.Receive()
	if err != nil {
		return outcomes, fromConnect(err)
	}
	kept := response.GetKeepAlive().GetLeases()
	if len(kept) != len(message) {
		return outcomes, unreachable(fmt.Errorf("it answered %d renewals of %d", len(kept), len(message)), false)
	}
	for i, l := range message {
		outcomes = append(outcomes, renewal{lease: l, sent: sent, ttl: max(0, kept[i].GetTtl().AsDuration())})
	}
	return outcomes, nil
}

// limit breaks the stream after a while, unless it is called off.
func (r *renewer) limit() (callOff func()) {
	stream, cancel := r.stream, r.cancel
	timer := time.AfterFunc(roundTimeout, func() {
		cancel()
		_ = stream.CloseRequest() // HTTP/2 looks at the context only once the request's body has ended
	})
	return func() { timer.Stop() }
}

func (r *renewer) hangUp() {
	if r.stream == nil {
		return
	}
	r.cancel()
	_, _ = r.stream.CloseRequest(), r.stream.CloseResponse() // it is of no more use
	r.stream, r.cancel = nil, nil
}
