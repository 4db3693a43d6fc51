package etcd

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/flotillakv/flotilla/proto/gen/etcd/v3lockpb"
)

// lockServer serves v3lockpb.Lock.
type lockServer struct{ queues queues }

// lockService describes v3lockpb.Lock to grpc.
func lockService() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "v3lockpb.Lock", HandlerType: (*any)(nil), Metadata: "etcd/v3lockpb/v3lock.proto",
		Methods: []grpc.MethodDesc{
			unaryMethod("v3lockpb.Lock", "Lock", (*lockServer).lock),
			unaryMethod("v3lockpb.Lock", "Unlock", (*lockServer).unlock),
		},
	}
}

// unaryMethod describes a unary procedure whose server is an S.
func unaryMethod[S, Q, A any](service, name string, serve func(S, context.Context, *Q) (A, error)) grpc.MethodDesc {
	return grpc.MethodDesc{
		MethodName: name,
		Handler: func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			request := new(Q)
			if err := decode(request); err != nil {
				return nil, err
			}
			info := &grpc.UnaryServerInfo{Server: srv, FullMethod: "/" + service + "/" + name}
			return interceptor(ctx, request, info, func(ctx context.Context, request any) (any, error) {
				return serve(srv.(S), ctx, request.(*Q)) //nolint:forcetypeassert,errcheck // both are made above
			})
		},
	}
}

// lock waits until the lock is held. A caller that leaves gives its place up.
func (s *lockServer) lock(ctx context.Context, r *v3lockpb.LockRequest) (*v3lockpb.LockResponse, error) {
	response, err := s.acquire(ctx, r)
	return response, withoutCode(err)
}

func (s *lockServer) acquire(ctx context.Context, r *v3lockpb.LockRequest) (*v3lockpb.LockResponse, error) {
	lease, err := s.queues.session(ctx, r.GetLease())
	if err != nil {
		return nil, err
	}
	p, err := s.queues.join(ctx, r.GetName(), lease, nil)
	if err != nil {
		return nil, err
	}
	if err := s.queues.wait(ctx, p); err != nil {
		_, _ = s.queues.kv().DeleteRange(context.WithoutCancel(ctx), &pb.DeleteRangeRequest{Key: p.key})
		return nil, err
	}
	held, err := s.queues.read(ctx, &pb.RangeRequest{Key: p.key, KeysOnly: true})
	if err != nil {
		return nil, err
	}
	if len(held.GetKvs()) == 0 { // its lease ended while it waited
		return nil, errSessionExpired
	}
	return &v3lockpb.LockResponse{Header: held.GetHeader(), Key: p.key}, nil
}

// unlock deletes the key of a lock.
func (s *lockServer) unlock(ctx context.Context, r *v3lockpb.UnlockRequest) (*v3lockpb.UnlockResponse, error) {
	response, err := s.queues.kv().DeleteRange(ctx, &pb.DeleteRangeRequest{Key: r.GetKey()})
	if err != nil {
		return nil, withoutCode(err)
	}
	return &v3lockpb.UnlockResponse{Header: response.GetHeader()}, nil
}
