package flotilla

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// Waits between attempts: full jitter under a bound that doubles.
const (
	backoffFirst = 10 * time.Millisecond
	backoffMax   = time.Second
)

// retryable tells whether a call may be tried again. What surely was not
// applied always may; an unknown outcome may because the attempt after it
// carries the same request id, or is a read.
func retryable(err error) (after time.Duration, ok bool) {
	var e *Error
	if !errors.As(err, &e) {
		return 0, false
	}
	switch e.Reason {
	case flotillav1.Reason_REASON_NOT_LEADER, flotillav1.Reason_REASON_SHARD_MOVING,
		flotillav1.Reason_REASON_SHUTTING_DOWN, flotillav1.Reason_REASON_SHARD_BUSY,
		flotillav1.Reason_REASON_OUTCOME_UNKNOWN, flotillav1.Reason_REASON_STREAM_STALLED:
		return e.RetryAfter, true
	case flotillav1.Reason_REASON_QUOTA_EXCEEDED:
		return e.RetryAfter, e.RetryAfter > 0
	case flotillav1.Reason_REASON_UNSPECIFIED:
		return 0, connectionLost(e)
	default:
		return 0, false
	}
}

// connectionLost tells whether an error that the server's table did not make
// comes of the connection, and not of the caller or the request.
func connectionLost(e *Error) bool {
	if errors.Is(e.cause, context.Canceled) || errors.Is(e.cause, context.DeadlineExceeded) || errors.Is(e.cause, ErrClosed) {
		return false
	}
	switch e.Code {
	case connect.CodeUnavailable, connect.CodeUnknown, connect.CodeInternal, connect.CodeCanceled, connect.CodeDataLoss:
		return true
	default:
		return false
	}
}

// deadline is when a call ends: its context's deadline, or the client's timeout
// from now.
func (c *Client) deadline(ctx context.Context) time.Time {
	if deadline, ok := ctx.Deadline(); ok {
		return deadline
	}
	return time.Now().Add(c.cfg.Timeout)
}

// retry runs attempts of a call until one succeeds, its error is final, the
// context or the time ends, or the attempts or the client's budget are used up. Once an
// attempt's outcome is unknown the call's is, unless a later one succeeds.
func (c *Client) retry(ctx context.Context, deadline time.Time, attempt func(context.Context) error) error {
	unknown := false
	for n := 1; ; n++ {
		err := attempt(ctx)
		if err == nil {
			c.budget.earn()
			return nil
		}
		unknown = unknown || OutcomeUnknown(err)
		after, ok := retryable(err)
		if !ok || n >= c.cfg.AttemptsMax || !c.budget.spend() || !sleep(ctx, deadline, max(after, backoff(n))) {
			return markUnknown(err, unknown)
		}
	}
}

// markUnknown keeps an earlier attempt's unknown outcome in the last error.
func markUnknown(err error, unknown bool) error {
	var e *Error
	if unknown && errors.As(err, &e) {
		e.unknown = true
	}
	return err
}

func backoff(attempt int) time.Duration {
	bound := min(backoffFirst<<min(attempt-1, 10), backoffMax)
	return mathrand.N(bound) //nolint:gosec // spreads retries, guards nothing
}

// sleep waits, unless the call would end before: then there is no use.
func sleep(ctx context.Context, deadline time.Time, d time.Duration) bool {
	if time.Until(deadline) <= d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// retryBudget bounds a client's retries to a tenth of its calls, and a start
// of some: many clients that retry must not keep a server down.
type retryBudget struct {
	mu     sync.Mutex
	tenths int
}

const retryBudgetTenthsMax = 20_000

func (b *retryBudget) init() { b.tenths = retryBudgetTenthsMax }

func (b *retryBudget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tenths = min(b.tenths+1, retryBudgetTenthsMax)
}

func (b *retryBudget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tenths < 10 {
		return false
	}
	b.tenths -= 10
	return true
}

// requestIDs numbers a client's mutations. The prefix is random, so that no
// two clients have an id in common.
type requestIDs struct {
	prefix string
	last   *atomic.Uint64
}

func newRequestIDs() requestIDs {
	return requestIDs{prefix: rand.Text()[:22] + ".", last: new(atomic.Uint64)}
}

func (r requestIDs) next() string {
	return r.prefix + strconv.FormatUint(r.last.Add(1), 36)
}
