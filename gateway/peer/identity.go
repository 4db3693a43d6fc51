package peer

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Who a stream is meant for. An address may be another node's by now, even one of
// another cluster, whose namespaces have the same numbers: what was asked of it
// would be answered, and from the wrong data.
const (
	clusterHeader = "flotilla-cluster"
	nodeHeader    = "flotilla-node"
)

// introduce says on each stream which node of which cluster it is for.
func introduce(cluster, node string) grpc.StreamClientInterceptor {
	return func(
		ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption,
	) (grpc.ClientStream, error) {
		return open(introduced(ctx, cluster, node), desc, conn, method, opts...)
	}
}

// introduced is the context of a call that is for a node of a cluster.
func introduced(ctx context.Context, cluster, node string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, clusterHeader, cluster, nodeHeader, node)
}

// admit refuses a stream that is meant for another node. It does so before the
// header is sent, which the caller waits for: so nothing was asked yet.
func (s *Server) admit(ctx context.Context) error {
	if s.isStopping() {
		return errStopping
	}
	named := func(header string) string {
		md, _ := metadata.FromIncomingContext(ctx)
		if values := md.Get(header); len(values) == 1 {
			return values[0]
		}
		return ""
	}
	switch {
	case s.cfg.NodeID == "":
		return nil
	case named(clusterHeader) != s.cfg.ClusterID:
		return status.Errorf(codes.FailedPrecondition, "this is a node of cluster %s, and the caller looks for one of cluster %q", s.cfg.ClusterID, named(clusterHeader))
	case named(nodeHeader) != s.cfg.NodeID:
		return status.Errorf(codes.FailedPrecondition, "this is node %s, and the caller looks for %q", s.cfg.NodeID, named(nodeHeader))
	}
	return nil
}
