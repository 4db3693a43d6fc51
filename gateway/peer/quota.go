package peer

import (
	"context"
	"strings"

	"google.golang.org/grpc"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// Take tells a node what was spent of rates whose home it is, and asks for more. The
// error is *shards.UnreachableError when the node's address is not known, else the
// RPC's.
func (p *Pool) Take(ctx context.Context, node string, request *internalv1.TakeRequest) (*internalv1.TakeResponse, error) {
	l, err := p.link(node)
	if err != nil {
		return nil, err
	}
	return internalv1.NewQuotaServiceClient(l.conn).Take(introduced(ctx, p.cfg.ClusterID, node), request)
}

// quotaPrefix is how the names of QuotaService's procedures begin.
const quotaPrefix = "/flotilla.internal.v1.QuotaService/"

// admitUnary refuses what is meant for another node. Nodes that meet do not know
// each other yet.
func (s *Server) admitUnary(ctx context.Context, info *grpc.UnaryServerInfo) error {
	if !strings.HasPrefix(info.FullMethod, quotaPrefix) {
		return nil
	}
	return s.admit(ctx)
}
