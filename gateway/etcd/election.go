package etcd

import (
	"bytes"
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"

	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/proto/gen/etcd/v3electionpb"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/watch"
)

// electionServer serves v3electionpb.Election.
type electionServer struct{ queues queues }

// electionService describes v3electionpb.Election to grpc.
func electionService() *grpc.ServiceDesc {
	const name = "v3electionpb.Election"
	return &grpc.ServiceDesc{
		ServiceName: name, HandlerType: (*any)(nil), Metadata: "etcd/v3electionpb/v3election.proto",
		Methods: []grpc.MethodDesc{
			unaryMethod(name, "Campaign", (*electionServer).campaign),
			unaryMethod(name, "Proclaim", (*electionServer).proclaim),
			unaryMethod(name, "Leader", (*electionServer).leader),
			unaryMethod(name, "Resign", (*electionServer).resign),
		},
		Streams: []grpc.StreamDesc{{
			StreamName: "Observe", ServerStreams: true,
			Handler: func(srv any, stream grpc.ServerStream) error {
				request := new(v3electionpb.LeaderRequest)
				if err := stream.RecvMsg(request); err != nil {
					return err
				}
				ctx, _ := meter.WithCall(stream.Context())
				server := srv.(*electionServer) //nolint:forcetypeassert,errcheck // it was registered as such
				return server.queues.guard("the election", func(g *guard) error {
					return withoutCode(server.observe(ctx, request, func(r *v3electionpb.LeaderResponse) error {
						return g.send(stream, r)
					}))
				})
			},
		}},
	}
}

// campaign waits until the caller leads. A caller that leaves gives its place
// up.
func (s *electionServer) campaign(ctx context.Context, r *v3electionpb.CampaignRequest) (*v3electionpb.CampaignResponse, error) {
	response, err := s.win(ctx, r)
	return response, withoutCode(err)
}

func (s *electionServer) win(ctx context.Context, r *v3electionpb.CampaignRequest) (*v3electionpb.CampaignResponse, error) {
	lease, err := s.queues.session(ctx, r.GetLease())
	if err != nil {
		return nil, err
	}
	p, err := s.queues.join(ctx, r.GetName(), lease, r.GetValue())
	if err != nil {
		return nil, err
	}
	leader := &v3electionpb.LeaderKey{Name: r.GetName(), Key: p.key, Rev: p.revision, Lease: lease}
	if !p.joined && !bytes.Equal(p.value, r.GetValue()) {
		if _, err := s.put(ctx, leader, r.GetValue()); err != nil {
			_, _ = s.giveUp(context.WithoutCancel(ctx), leader)
			return nil, err
		}
	}
	if err := s.queues.wait(ctx, p); err != nil {
		if ctx.Err() != nil {
			_, _ = s.giveUp(context.WithoutCancel(ctx), leader)
		}
		return nil, err
	}
	return &v3electionpb.CampaignResponse{Header: p.header, Leader: leader}, nil
}

// proclaim changes the leader's value.
func (s *electionServer) proclaim(ctx context.Context, r *v3electionpb.ProclaimRequest) (*v3electionpb.ProclaimResponse, error) {
	if r.GetLeader() == nil {
		return nil, errMissingLeaderKey
	}
	header, err := s.put(ctx, r.GetLeader(), r.GetValue())
	if err != nil {
		return nil, withoutCode(err)
	}
	return &v3electionpb.ProclaimResponse{Header: header}, nil
}

func (s *electionServer) put(ctx context.Context, leader *v3electionpb.LeaderKey, value []byte) (*pb.ResponseHeader, error) {
	lease, err := s.queues.session(ctx, leader.GetLease())
	if err != nil {
		return nil, err
	}
	response, err := s.queues.kv().Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{createdAt(leader.GetKey(), leader.GetRev())},
		Success: []*pb.RequestOp{putOperation(&pb.PutRequest{Key: leader.GetKey(), Value: value, Lease: lease})},
	})
	if err != nil {
		return nil, err
	}
	if !response.GetSucceeded() {
		return nil, errNotLeader
	}
	return response.GetHeader(), nil
}

// resign gives leadership up; without it, it does nothing.
func (s *electionServer) resign(ctx context.Context, r *v3electionpb.ResignRequest) (*v3electionpb.ResignResponse, error) {
	if r.GetLeader() == nil {
		return nil, errMissingLeaderKey
	}
	header, err := s.giveUp(ctx, r.GetLeader())
	if err != nil {
		return nil, withoutCode(err)
	}
	return &v3electionpb.ResignResponse{Header: header}, nil
}

func (s *electionServer) giveUp(ctx context.Context, leader *v3electionpb.LeaderKey) (*pb.ResponseHeader, error) {
	response, err := s.queues.kv().Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{createdAt(leader.GetKey(), leader.GetRev())},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{
			RequestDeleteRange: &pb.DeleteRangeRequest{Key: leader.GetKey()},
		}}},
	})
	return response.GetHeader(), err
}

// leader tells who leads.
func (s *electionServer) leader(ctx context.Context, r *v3electionpb.LeaderRequest) (*v3electionpb.LeaderResponse, error) {
	kv, header, err := s.queues.first(ctx, r.GetName())
	if err != nil {
		return nil, withoutCode(err)
	}
	if kv == nil {
		return nil, errNoLeader
	}
	return &v3electionpb.LeaderResponse{Header: header, Kv: kv}, nil
}

// observe tells who leads and what it proclaims, and then who follows, until
// the caller leaves.
func (s *electionServer) observe(ctx context.Context, r *v3electionpb.LeaderRequest, send func(*v3electionpb.LeaderResponse) error) error {
	for {
		kv, header, err := s.queues.first(ctx, r.GetName())
		if err != nil {
			return err
		}
		if kv == nil {
			if kv, header, err = s.awaitCandidate(ctx, r.GetName(), header); err != nil {
				return err
			}
		}
		if err := send(&v3electionpb.LeaderResponse{Header: header, Kv: kv}); err != nil {
			return err
		}
		if err := s.observeOne(ctx, kv.GetKey(), header, send); err != nil {
			return err
		}
	}
}

// awaitCandidate waits for the first key of an election without any.
func (s *electionServer) awaitCandidate(ctx context.Context, name []byte, header *pb.ResponseHeader) (kv *mvccpb.KeyValue, _ *pb.ResponseHeader, err error) {
	prefix := queuePrefix(name)
	err = s.queues.follow(ctx, &flotillav1.WatchCreate{
		Target:        &flotillav1.WatchCreate_Range{Range: keyRange(prefix, prefixEnd(prefix))},
		StartRevision: uint64(header.GetRevision()), NoDelete: true,
	}, func(e *watch.Event) (bool, error) {
		kv = keyValue(e.KeyValue())
		return true, nil
	})
	header.Revision = kv.GetModRevision()
	return kv, header, err
}

// observeOne tells what a leader proclaims until its key is deleted.
func (s *electionServer) observeOne(ctx context.Context, key []byte, header *pb.ResponseHeader, send func(*v3electionpb.LeaderResponse) error) error {
	c := callerFrom(ctx)
	return s.queues.follow(ctx, &flotillav1.WatchCreate{
		Target: &flotillav1.WatchCreate_Key{Key: key}, StartRevision: uint64(header.GetRevision() + 1),
	}, func(e *watch.Event) (bool, error) {
		if e.IsDelete() {
			return true, nil
		}
		return false, send(&v3electionpb.LeaderResponse{
			Header: s.queues.header(c, uint64(e.Revision)), Kv: keyValue(e.KeyValue()),
		})
	})
}
