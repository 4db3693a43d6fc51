// Package intercept holds the layers around every RPC, outermost first:
//
//	observe → error table → recover → deadline → authenticate → handler
//
// Tenant and limits come with the principal that authenticate finds; requests
// are validated where they are admitted (gateway/route), because operations in
// batches and transactions must be validated alike.
package intercept

import (
	"context"
	"errors"
	"maps"
	"net/http"

	"connectrpc.com/connect"
)

// call is what the layers know of an RPC before its messages.
type call struct {
	procedure string
	peer      string
	header    http.Header
	// response takes headers to send with the answer, also if it is an error; gRPC has
	// those of an error in its trailer.
	response http.Header
	stream   bool
}

// A layer runs around an RPC's handler. It is one function for unary and
// streaming RPCs: a layer that knew only one kind would skip the other.
type layer func(ctx context.Context, c call, next func(context.Context) error) error

// WrapUnary implements connect.Interceptor.
func (l layer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		var response connect.AnyResponse
		headers := make(http.Header)
		c := call{procedure: req.Spec().Procedure, peer: req.Peer().Addr, header: req.Header(), response: headers}
		err := l(ctx, c, func(ctx context.Context) (err error) {
			response, err = next(ctx, req)
			return err
		})
		if err != nil {
			if told, ok := errors.AsType[*connect.Error](err); ok && len(headers) > 0 {
				maps.Copy(told.Meta(), headers)
			}
			return nil, err
		}
		maps.Copy(response.Header(), headers)
		return response, nil
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (l layer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		c := call{
			procedure: conn.Spec().Procedure, peer: conn.Peer().Addr,
			header: conn.RequestHeader(), response: conn.ResponseHeader(), stream: true,
		}
		return l(ctx, c, func(ctx context.Context) error { return next(ctx, conn) })
	}
}

// WrapStreamingClient implements connect.Interceptor; the layers are a server's.
func (l layer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}
