package etcd

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// clusterServer serves etcdserverpb.Cluster: the members are the platform's
// nodes, which its placement manages.
type clusterServer struct {
	pb.UnimplementedClusterServer
	*Server
}

// memberName is the name that every node goes by.
const memberName = "flotilla"

// MemberList implements Cluster.
func (s *clusterServer) MemberList(ctx context.Context, _ *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	return &pb.MemberListResponse{
		Header: s.header(callerFrom(ctx), 0),
		Members: []*pb.Member{{
			ID: s.identity.member, Name: memberName, ClientURLs: []string{s.cfg.URL}, PeerURLs: []string{s.cfg.URL},
		}},
	}, nil
}

var errPlacement = status.Error(codes.Unimplemented,
	"flotilla: members are not changed by clients: the platform's placement decides which nodes there are")

// MemberAdd implements Cluster: it is refused.
func (*clusterServer) MemberAdd(context.Context, *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	return nil, errPlacement
}

// MemberRemove implements Cluster: it is refused.
func (*clusterServer) MemberRemove(context.Context, *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	return nil, errPlacement
}

// MemberUpdate implements Cluster: it is refused.
func (*clusterServer) MemberUpdate(context.Context, *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	return nil, errPlacement
}

// MemberPromote implements Cluster: it is refused.
func (*clusterServer) MemberPromote(context.Context, *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	return nil, errPlacement
}
