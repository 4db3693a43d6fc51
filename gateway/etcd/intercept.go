package etcd

import (
	"context"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/shards"
)

// unary is all that runs around a unary procedure, in one function because it
// is on the way of every request: measure, error table, recover, authenticate.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	start := time.Now()
	response, err := s.answer(ctx, req, info.FullMethod, handler)
	if err != nil {
		err = s.tell(ctx, info.FullMethod, err)
	}
	s.metrics.observe(info.FullMethod, status.Code(err), time.Since(start))
	return response, err
}

func (s *Server) answer(ctx context.Context, req any, method string, handler grpc.UnaryHandler) (response any, err error) {
	defer intercept.Recovered(&err)
	if isPublic(method) {
		return handler(ctx, req)
	}
	if ctx, err = s.enter(ctx); err != nil {
		return nil, err
	}
	hold := &callerFrom(ctx).answer
	defer hold.release()
	ctx, call := meter.WithCall(ctx)
	if response, err = handler(ctx, req); err == nil {
		err = hold.resize(answerBytes(response))
	}
	if err != nil {
		_ = tellCost(ctx, call, grpc.SetTrailer) // why the call failed is told in any case
		return nil, err
	}
	if err := tellCost(ctx, call, grpc.SetHeader); err != nil {
		return nil, err
	}
	if hold.bytes == 0 {
		return response, nil
	}
	return hold.attach(response.(proto.Message)), nil //nolint:forcetypeassert,errcheck // only such are large
}

// tellCost tells the cost of a call with its answer, of which set sets a part.
func tellCost(ctx context.Context, call *meter.Call, set func(context.Context, metadata.MD) error) error {
	read, write := call.Units()
	return set(ctx, metadata.MD{readUnitsKey: {read}, writeUnitsKey: {write}})
}

// The keys of the cost, in lower case as metadata has them.
const (
	readUnitsKey  = "flotilla-read-units"
	writeUnitsKey = "flotilla-write-units"
)

// stream is all that runs around a stream.
func (s *Server) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	start := time.Now()
	open := s.metrics.streams.WithLabelValues(info.FullMethod)
	open.Inc()
	defer open.Dec()
	err := s.answerStream(srv, stream, info.FullMethod, handler)
	if err != nil {
		err = s.tell(stream.Context(), info.FullMethod, err)
	}
	s.metrics.observe(info.FullMethod, status.Code(err), time.Since(start))
	return err
}

func (s *Server) answerStream(srv any, stream grpc.ServerStream, method string, handler grpc.StreamHandler) (err error) {
	defer intercept.Recovered(&err)
	if isPublic(method) {
		ctx, cancel := s.untilStop(stream.Context())
		defer cancel()
		return handler(srv, &enteredStream{ServerStream: stream, ctx: ctx})
	}
	ctx, err := s.enter(stream.Context())
	if err != nil {
		return err
	}
	return handler(srv, &enteredStream{ServerStream: stream, ctx: ctx})
}

// untilStop returns a context that ends when the server begins to stop. Streams
// of health checks would stay open for ever.
func (s *Server) untilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// enter lets a caller in, and refuses one that wants a leader where none is.
func (s *Server) enter(ctx context.Context) (context.Context, error) {
	if err := checkVersion(ctx); err != nil {
		return nil, err
	}
	ctx, c, err := s.door.enter(ctx)
	if err != nil {
		return nil, err
	}
	if requiresLeader(ctx) && !s.hasLeader(c.place.Shard) {
		return nil, rpctypes.ErrGRPCNoLeader
	}
	return ctx, nil
}

// hasLeader tells whether the shard has a leader as its replica here knows it;
// where there is none, the request will find out.
func (s *Server) hasLeader(shard shards.ShardID) bool {
	replica, ok := s.node.ShardStatus(shard)
	return !ok || replica.Leader != 0
}

// tell turns an error into etcd's, and logs what is the platform's fault.
func (s *Server) tell(ctx context.Context, method string, err error) error {
	told, fault := toStatus(err)
	if fault && ctx.Err() == nil {
		s.log.Error("request failed", "procedure", method, "err", err)
	}
	return told
}

// enteredStream is a stream whose caller is known.
type enteredStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // what a stream is for
}

// Context implements grpc.ServerStream.
func (s *enteredStream) Context() context.Context { return s.ctx }

// isPublic says whether a procedure needs no caller.
func isPublic(method string) bool {
	return method == "/etcdserverpb.Auth/Authenticate" || strings.HasPrefix(method, "/grpc.")
}
