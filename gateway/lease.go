package gateway

import (
	"context"
	"errors"
	"io"

	"connectrpc.com/connect"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/route"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
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

// KeepAliveStream implements LeaseService. One request is on its way at a time:
// a caller with many leases names many in each.
func (h *leaseHandler) KeepAliveStream(
	ctx context.Context, stream *connect.BidiStream[flotillav1.KeepAliveStreamRequest, flotillav1.KeepAliveStreamResponse],
) error {
	requests, failed := receiveAll(ctx, stream.Receive)
	for {
		select {
		case message := <-requests:
			if err := h.auth.StillValid(ctx); err != nil {
				return err
			}
			req := message.GetKeepAlive()
			if req == nil {
				return &mvcc.InvalidError{Field: "keep_alive", Message: "must be set"}
			}
			response, err := h.renew(ctx, req)
			if err != nil {
				return err
			}
			if err := stream.Send(&flotillav1.KeepAliveStreamResponse{KeepAlive: response}); err != nil {
				return err
			}
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-h.stopping:
			return shards.ErrStopping
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (h *leaseHandler) renew(ctx context.Context, req *flotillav1.KeepAliveRequest) (*flotillav1.KeepAliveResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	return route.Do[*flotillav1.KeepAliveResponse](ctx, h.kv, req)
}

// receiveAll hands a stream's messages over one by one, so that its handler can
// wait for other things too. It ends when the RPC does, which ends receive.
func receiveAll[M any](ctx context.Context, receive func() (*M, error)) (messages <-chan *M, failed <-chan error) {
	received, ended := make(chan *M), make(chan error, 1)
	go func() {
		for {
			message, err := receive()
			if err != nil {
				ended <- err
				return
			}
			select {
			case received <- message:
			case <-ctx.Done():
				return
			}
		}
	}()
	return received, ended
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
