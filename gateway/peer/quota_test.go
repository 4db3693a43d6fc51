package peer_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/flotillakv/flotilla/gateway/peer"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
)

// home grants what is wanted.
type home struct {
	internalv1.UnimplementedQuotaServiceServer
}

func (home) Take(_ context.Context, request *internalv1.TakeRequest) (*internalv1.TakeResponse, error) {
	response := &internalv1.TakeResponse{}
	for _, ask := range request.GetAsks() {
		response.Grants = append(response.Grants, &internalv1.QuotaGrant{
			Requests: &internalv1.RateGrant{Granted: ask.GetRequests().GetWant()},
		})
	}
	return response, nil
}

func TestTakeAsksTheNodeThatIsMeant(t *testing.T) {
	t.Parallel()
	for name, who := range map[string]struct {
		cluster, node string
		meant         bool
	}{
		"the node":            {"cluster", there, true},
		"another node":        {"cluster", "node-elsewhere", false},
		"a node of elsewhere": {"another", there, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, func(pool *peer.PoolConfig, server *peer.ServerConfig) {
				pool.ClusterID = "cluster"
				server.ClusterID, server.NodeID, server.Quota = who.cluster, who.node, home{}
			})
			response, err := p.pool.Take(t.Context(), there, &internalv1.TakeRequest{NodeId: "here", Asks: []*internalv1.QuotaAsk{
				{Tenant: "tenant", Requests: &internalv1.RateAsk{PerSecond: 1, Want: 7}},
			}})
			if !who.meant {
				require.Equal(t, codes.FailedPrecondition, status.Code(err))
				return
			}
			require.NoError(t, err)
			require.EqualValues(t, 7, response.GetGrants()[0].GetRequests().GetGranted())
		})
	}
}

func TestTakeOfANodeThatIsNotKnown(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	_, err := p.pool.Take(t.Context(), "", &internalv1.TakeRequest{})
	require.Error(t, err)
	_, err = p.pool.Take(t.Context(), there, &internalv1.TakeRequest{})
	require.Equal(t, codes.Unimplemented, status.Code(err), "it is of an older version")
	require.NotErrorIs(t, err, shards.ErrStopping)
}
