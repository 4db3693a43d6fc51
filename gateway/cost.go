package gateway

import (
	"context"
	"errors"
	"net/http"

	"connectrpc.com/connect"

	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/tenancy"
)

// tellCost has a unary call count as one request, and tells its cost, also if it is
// refused. It is outside the error table, which makes the errors that are sent.
func tellCost(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		ctx, call := meter.WithCall(ctx)
		response, err := next(ctx, req)
		if err == nil {
			setCost(response.Header(), call)
		} else if told, ok := errors.AsType[*connect.Error](err); ok {
			setCost(told.Meta(), call)
		}
		return response, err
	}
}

func setCost(header http.Header, call *meter.Call) {
	read, write := call.Units()
	header.Set(meter.ReadUnitsHeader, read)
	header.Set(meter.WriteUnitsHeader, write)
}

// metering counts connections. It comes after the caller is known.
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
		return next(ctx, req)
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
