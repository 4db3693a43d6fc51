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

// Member is a node that serves the etcd v3 API.
type Member struct {
	// NodeID is the node's id, Name what its operator calls it.
	NodeID, Name string
	// URL is where clients reach it.
	URL string
}

// MemberList implements Cluster. Clients have no business with the ports between
// nodes, so a member's peer URL is its client URL.
func (s *clusterServer) MemberList(ctx context.Context, _ *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	response := &pb.MemberListResponse{Header: s.header(callerFrom(ctx), 0)}
	for _, m := range s.cfg.Members() {
		response.Members = append(response.Members, &pb.Member{
			ID: memberOf(m.NodeID), Name: m.Name, ClientURLs: []string{m.URL}, PeerURLs: []string{m.URL},
		})
	}
	return response, nil
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
