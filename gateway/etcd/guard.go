package etcd

import (
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/flotillakv/flotilla/gateway/intercept"
)

// guard watches over the sends of a stream, none of which ends by itself while
// the caller does not read.
type guard struct {
	limit   time.Duration
	stalled *time.Timer // fires when a message is on its way for too long
}

// guard runs the work of a stream, and ends the stream when one of its sends
// takes too long. Work that is stuck is let go when the handler returns, which
// is why that does not wait for it: it must free what it has by itself.
func (s *Server) guard(what string, work func(*guard) error) error {
	g := newGuard(s.cfg.StallMax)
	done := make(chan error, 1)
	go func() { done <- g.run(work) }()
	select {
	case err := <-done:
		return err
	case <-g.stalled.C:
		return g.stall(what)
	}
}

func newGuard(limit time.Duration) *guard {
	g := &guard{limit: limit, stalled: time.NewTimer(limit)}
	g.stalled.Stop()
	return g
}

// stall is the error of a stream whose guard has stalled.
func (g *guard) stall(what string) error {
	return status.Error(codes.Unavailable, fmt.Sprintf("flotilla: %s was not read for %s", what, g.limit))
}

func (g *guard) run(work func(*guard) error) (err error) {
	defer intercept.Recovered(&err)
	return work(g)
}

// send sends one message.
func (g *guard) send(stream grpc.ServerStream, message any) error {
	g.stalled.Reset(g.limit)
	defer g.stalled.Stop()
	return stream.SendMsg(message)
}
