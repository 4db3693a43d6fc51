package gateway

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/route"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

// leaseHandler serves flotilla.v1.LeaseService.
type leaseHandler struct {
	kv   *route.KV
	auth *intercept.Authenticator
	// stopping is closed when the node begins to stop.
	stopping <-chan struct{}
}

// GrantLease implements LeaseService.
func (h *leaseHandler) GrantLease(ctx context.Context, req *flotillav1.GrantLeaseRequest) (*flotillav1.GrantLeaseResponse, error) {
	return route.Do[*flotillav1.GrantLeaseResponse](ctx, h.kv, req)
}

// KeepAlive implements LeaseService.
func (h *leaseHandler) KeepAlive(ctx context.Context, req *flotillav1.KeepAliveRequest) (*flotillav1.KeepAliveResponse, error) {
	return route.Do[*flotillav1.KeepAliveResponse](ctx, h.kv, req)
}

// renewalsOfStreamMax bounds the requests of one stream that are on their way. A
// caller that sends more is not read from until some are answered.
const renewalsOfStreamMax = 64

// KeepAliveStream implements LeaseService. Requests are carried out side by
// side, so those that are sent together share a command, and are answered in
// their order by a goroutine of their own.
func (h *leaseHandler) KeepAliveStream(
	ctx context.Context, stream *connect.BidiStream[flotillav1.KeepAliveStreamRequest, flotillav1.KeepAliveStreamResponse],
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	renewals := make(chan *renewal, renewalsOfStreamMax)
	sent := make(chan error, 1)
	go func() {
		err := sendRenewals(renewals, stream.Send)
		if err != nil {
			cancel(err)
		}
		sent <- err
	}()
	err := h.startRenewals(ctx, stream.Receive, renewals)
	close(renewals)
	return errors.Join(<-sent, err) // an error of sending is also why the rest ended
}

// renewal is one request on its way.
type renewal struct {
	done     chan struct{} // closed when response or err is set
	response *flotillav1.KeepAliveResponse
	err      error
}

// sendRenewals sends the answers of requests, in their order, up to the first
// that failed.
func sendRenewals(renewals <-chan *renewal, send func(*flotillav1.KeepAliveStreamResponse) error) (err error) {
	defer intercept.Recovered(&err)
	for r := range renewals {
		<-r.done
		if r.err != nil {
			return r.err
		}
		if err := send(&flotillav1.KeepAliveStreamResponse{KeepAlive: r.response}); err != nil {
			return err
		}
	}
	return nil
}

// startRenewals starts requests as they come, as long as they come.
func (h *leaseHandler) startRenewals(
	ctx context.Context, receive func() (*flotillav1.KeepAliveStreamRequest, error), renewals chan<- *renewal,
) error {
	return receiveEach(ctx, receive, h.auth, h.stopping, func(message *flotillav1.KeepAliveStreamRequest) error {
		r := &renewal{done: make(chan struct{})}
		select {
		case renewals <- r:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		go h.renew(ctx, message.GetKeepAlive(), r)
		return nil
	})
}

// renew carries one request out.
func (h *leaseHandler) renew(ctx context.Context, req *flotillav1.KeepAliveRequest, r *renewal) {
	defer close(r.done)
	defer intercept.Recovered(&r.err)
	if req == nil {
		r.err = &mvcc.InvalidError{Field: "keep_alive", Message: "must be set"}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	r.response, r.err = route.Do[*flotillav1.KeepAliveResponse](ctx, h.kv, req)
}

// RevokeLease implements LeaseService.
func (h *leaseHandler) RevokeLease(ctx context.Context, req *flotillav1.RevokeLeaseRequest) (*flotillav1.RevokeLeaseResponse, error) {
	return route.Do[*flotillav1.RevokeLeaseResponse](ctx, h.kv, req)
}

// GetLease implements LeaseService.
func (h *leaseHandler) GetLease(ctx context.Context, req *flotillav1.GetLeaseRequest) (*flotillav1.GetLeaseResponse, error) {
	return route.Do[*flotillav1.GetLeaseResponse](ctx, h.kv, req)
}

// ListLeases implements LeaseService.
func (h *leaseHandler) ListLeases(ctx context.Context, req *flotillav1.ListLeasesRequest) (*flotillav1.ListLeasesResponse, error) {
	return route.Do[*flotillav1.ListLeasesResponse](ctx, h.kv, req)
}
