package intercept

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/flotillakv/flotilla/shards/watch"
)

type responseKey struct{}

// KeepResponse lets handlers of RPCs reach the HTTP response that they answer
// through: see NewStall.
func KeepResponse(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(WithResponse(r.Context(), w)))
	})
}

// WithResponse returns a context that carries the HTTP response: see NewStall.
func WithResponse(ctx context.Context, w http.ResponseWriter) context.Context {
	return context.WithValue(ctx, responseKey{}, w)
}

// A Stall guards the sending of a stream that may be silent for hours: it ends
// the stream when its caller takes nothing for too long, because what is being
// sent cannot be bounded otherwise. Of a stream without an HTTP response it
// guards nothing.
type Stall struct {
	limit time.Duration
	timer *time.Timer
	ended atomic.Bool
}

// NewStall makes the guard of a stream, which must be closed. No send may take
// longer than limit. The request was read, so that it takes no more time is no
// reason to end it.
func NewStall(ctx context.Context, limit time.Duration) *Stall {
	s := &Stall{limit: limit}
	w, ok := ctx.Value(responseKey{}).(http.ResponseWriter)
	if !ok {
		return s
	}
	controller := http.NewResponseController(w)
	_ = controller.SetReadDeadline(time.Time{}) // of a request's body; what cannot have one has none
	s.timer = time.AfterFunc(limit, func() {
		s.ended.Store(true)
		_ = controller.SetWriteDeadline(time.Now().Add(-time.Second)) // fails if the stream ended meanwhile
	})
	s.timer.Stop()
	return s
}

// Send sends one thing. If the caller did not take it in time, the error wraps
// watch.ErrStalled, and the stream is of no more use.
func (s *Stall) Send(send func() error) error {
	if s.timer != nil {
		s.timer.Reset(s.limit)
	}
	err := send()
	if s.timer != nil {
		s.timer.Stop()
	}
	if err != nil && s.ended.Load() {
		return fmt.Errorf("%w for %v: %w", watch.ErrStalled, s.limit, err)
	}
	return err
}

// Close ends the guard.
func (s *Stall) Close() {
	if s.timer != nil {
		s.timer.Stop()
	}
}
