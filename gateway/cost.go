package gateway

import (
	"context"

	"connectrpc.com/connect"

	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/tenancy"
)

// metering counts connections, has a unary call count as one request, and tells its
// cost. It comes after the caller is known.
type metering struct{ meter *meter.Meter }

// enter counts the connection of a call, if it is somebody's.
func (m metering) enter(ctx context.Context) error {
	principal, ok := tenancy.FromContext(ctx)
	if !ok {
		return nil
	}
	return m.meter.Enter(meter.ConnectionFrom(ctx), principal)
}

// WrapUnary implements connect.Interceptor.
func (m metering) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if err := m.enter(ctx); err != nil {
			return nil, err
		}
		ctx, call := meter.WithCall(ctx)
		response, err := next(ctx, req)
		if err == nil {
			read, write := call.Units()
			response.Header().Set(meter.ReadUnitsHeader, read)
			response.Header().Set(meter.WriteUnitsHeader, write)
		}
		return response, err
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (m metering) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := m.enter(ctx); err != nil {
			return err
		}
		return next(ctx, conn)
	}
}

// WrapStreamingClient implements connect.Interceptor, of a server.
func (metering) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}
