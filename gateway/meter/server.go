package meter

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/quota"
)

// Server answers other gateways about the tenants whose home this node is.
type Server struct {
	internalv1.UnimplementedQuotaServiceServer
	meter *Meter
}

// Server is what the peer port serves.
func (m *Meter) Server() *Server { return &Server{meter: m} }

// Take implements QuotaService.
func (s *Server) Take(_ context.Context, request *internalv1.TakeRequest) (*internalv1.TakeResponse, error) {
	if n := len(request.GetAsks()); n > asksMax || request.GetNodeId() == "" || len(request.GetNodeId()) > tenancy.NameBytesMax {
		return nil, status.Errorf(codes.InvalidArgument, "%d asks of node %.64q", n, request.GetNodeId())
	}
	now := s.meter.cfg.Now()
	response := &internalv1.TakeResponse{Grants: make([]*internalv1.QuotaGrant, len(request.GetAsks()))}
	for i, ask := range request.GetAsks() {
		if err := checkAsk(ask); err != nil {
			return nil, err
		}
		of := func(a *internalv1.RateAsk) rateAsk { return askOf(request.GetNodeId(), ask.GetLease(), a) }
		requests, bytes := of(ask.GetRequests()), of(ask.GetBytes())
		ofRequests, ofBytes, err := s.meter.askHome(tenancy.TenantID(ask.GetTenant()), requests, bytes, now)
		if err != nil {
			return nil, err
		}
		response.Grants[i] = &internalv1.QuotaGrant{Requests: grantProto(ofRequests), Bytes: grantProto(ofBytes)}
	}
	return response, nil
}

// errFull refuses to be the home of one more tenant.
var errFull = status.Error(codes.ResourceExhausted, "this node is the home of too many tenants")

// askHome asks the home of a tenant, which may be forgotten at any moment.
func (m *Meter) askHome(tenant tenancy.TenantID, requests, bytes rateAsk, now time.Time) (ofRequests, ofBytes rateGrant, err error) {
	for {
		h := m.home(tenant)
		if h == nil {
			return rateGrant{}, rateGrant{}, errFull
		}
		if ofRequests, ofBytes, ok := h.ask(requests, bytes, now); ok {
			return ofRequests, ofBytes, nil
		}
	}
}

// totalMax bounds totals: far from what numbers can hold.
const totalMax = 1 << 60

// checkAsk refuses what no gateway asks.
func checkAsk(ask *internalv1.QuotaAsk) error {
	if err := tenancy.ValidateName("tenant", ask.GetTenant()); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	for _, a := range []*internalv1.RateAsk{ask.GetRequests(), ask.GetBytes()} {
		if a.GetPerSecond() > tokensMax || a.GetBurst() > tokensMax {
			return status.Error(codes.InvalidArgument, "a rate or a burst is too large")
		}
		if max(a.GetSpent(), a.GetGranted(), a.GetSelf(), a.GetWant()) > totalMax {
			return status.Error(codes.InvalidArgument, "a total is too large")
		}
	}
	return nil
}

// askOf is an ask as a home understands it.
func askOf(node string, lease uint64, a *internalv1.RateAsk) rateAsk {
	ask := rateAsk{
		rate: quota.Rate{PerSecond: a.GetPerSecond(), Burst: a.GetBurst()},
		Ask: quota.Ask{
			Node: node, Lease: lease, Spent: int64(a.GetSpent()), Granted: int64(a.GetGranted()),
			Self: int64(a.GetSelf()), Want: int64(a.GetWant()),
		},
	}
	if a != nil && a.Level != nil {
		level := float64(a.GetLevel()) / quota.Milli
		ask.level = &level
	}
	return ask
}

// askProto is an ask as it is sent; nil for a rate without a limit.
func askProto(a rateAsk) *internalv1.RateAsk {
	if a.rate.Unlimited() {
		return nil
	}
	ask := &internalv1.RateAsk{
		PerSecond: a.rate.PerSecond, Burst: a.rate.Burst,
		Spent: uint64(a.Spent), Granted: uint64(a.Granted), Self: uint64(a.Self), Want: uint64(a.Want),
	}
	if a.level != nil {
		level := int64(*a.level * quota.Milli)
		ask.Level = &level
	}
	return ask
}

func grantProto(g rateGrant) *internalv1.RateGrant {
	if !g.limited {
		return nil
	}
	return &internalv1.RateGrant{Granted: uint64(g.granted), Level: int64(g.level * quota.Milli)}
}

func grantOf(g *internalv1.RateGrant) rateGrant {
	return rateGrant{granted: int64(g.GetGranted()), level: float64(g.GetLevel()) / quota.Milli, limited: g != nil}
}
