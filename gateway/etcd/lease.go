package etcd

import (
	"context"
	"errors"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/route"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// leaseServer serves etcdserverpb.Lease.
type leaseServer struct {
	pb.UnimplementedLeaseServer
	*Server
}

const (
	// ttlSecondsMin is the shortest lease: etcd lengthens shorter ones to it.
	ttlSecondsMin = 2
	// ttlSecondsMax is the longest lease.
	ttlSecondsMax = 9_000_000_000
)

// LeaseGrant implements Lease.
func (s *leaseServer) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if r.GetTTL() > ttlSecondsMax {
		return nil, rpctypes.ErrGRPCLeaseTTLTooLarge
	}
	c := callerFrom(ctx)
	response, err := route.Do[*flotillav1.GrantLeaseResponse](ctx, s.kv, &flotillav1.GrantLeaseRequest{
		Namespace: c.namespace, Id: r.GetID(), Ttl: &durationpb.Duration{Seconds: max(r.GetTTL(), ttlSecondsMin)},
	})
	if err != nil {
		return nil, err
	}
	return &pb.LeaseGrantResponse{
		Header: s.header(c, response.GetRevision()), ID: response.GetId(), TTL: response.GetTtl().GetSeconds(),
	}, nil
}

// LeaseRevoke implements Lease.
func (s *leaseServer) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	if r.GetID() <= 0 { // such a lease is never granted
		return nil, mvcc.ErrLeaseNotFound
	}
	c := callerFrom(ctx)
	response, err := route.Do[*flotillav1.RevokeLeaseResponse](ctx, s.kv, &flotillav1.RevokeLeaseRequest{
		Namespace: c.namespace, Id: r.GetID(),
	})
	if err != nil {
		return nil, err
	}
	return &pb.LeaseRevokeResponse{Header: s.header(c, response.GetRevision())}, nil
}

// LeaseTimeToLive implements Lease. A lease that does not exist has a TTL of -1,
// which is no error.
func (s *leaseServer) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	c := callerFrom(ctx)
	lease, err := s.getLease(ctx, c, r)
	if errors.Is(err, mvcc.ErrLeaseNotFound) {
		state, err := s.kv.State(ctx, c.namespace, shards.Serializable)
		if err != nil {
			return nil, err
		}
		return &pb.LeaseTimeToLiveResponse{Header: s.header(c, uint64(state.Revision)), ID: r.GetID(), TTL: -1}, nil
	}
	if err != nil {
		return nil, err
	}
	return &pb.LeaseTimeToLiveResponse{
		Header: s.header(c, lease.GetRevision()), ID: r.GetID(), Keys: lease.GetKeys(),
		TTL: lease.GetRemainingTtl().GetSeconds(), GrantedTTL: lease.GetGrantedTtl().GetSeconds(),
	}, nil
}

func (s *leaseServer) getLease(ctx context.Context, c *caller, r *pb.LeaseTimeToLiveRequest) (*flotillav1.GetLeaseResponse, error) {
	if r.GetID() <= 0 {
		return nil, mvcc.ErrLeaseNotFound
	}
	return route.Do[*flotillav1.GetLeaseResponse](ctx, s.kv, &flotillav1.GetLeaseRequest{
		Namespace: c.namespace, Id: r.GetID(), Keys: r.GetKeys(),
	})
}

// LeaseLeases implements Lease.
func (s *leaseServer) LeaseLeases(ctx context.Context, _ *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	c := callerFrom(ctx)
	response := new(pb.LeaseLeasesResponse)
	var after int64
	for {
		page, err := route.Do[*flotillav1.ListLeasesResponse](ctx, s.kv, &flotillav1.ListLeasesRequest{Namespace: c.namespace, AfterId: after})
		if err != nil {
			return nil, err
		}
		if response.GetHeader() == nil {
			response.Header = s.header(c, page.GetRevision())
		}
		for _, id := range page.GetIds() {
			response.Leases = append(response.Leases, &pb.LeaseStatus{ID: id})
			after = id
		}
		if !page.GetMore() {
			return response, nil
		}
	}
}

// renewalsMax bounds the renewals of a stream that are made at once.
const renewalsMax = 1000

// LeaseKeepAlive implements Lease. The renewals that wait are made together, and
// are answered in their order.
func (s *leaseServer) LeaseKeepAlive(stream grpc.BidiStreamingServer[pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse]) error {
	ctx := stream.Context()
	c := callerFrom(ctx)
	requests, failed := make(chan int64, renewalsMax), make(chan error, 1)
	go func() { failed <- receiveRenewals(stream, requests) }()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C: // of a caller that sends nothing
			if err := s.door.auth.StillValid(ctx); err != nil {
				return err
			}
		case id, ok := <-requests:
			if !ok { // receiving ended: what came before was answered
				if err := <-failed; !errors.Is(err, io.EOF) {
					return err
				}
				return nil
			}
			if err := s.door.auth.StillValid(ctx); err != nil {
				return err
			}
			if err := s.renew(ctx, c, waitingIDs(id, requests), stream.Send); err != nil {
				return err
			}
		case <-s.stopping:
			return shards.ErrStopping
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func receiveRenewals(stream grpc.BidiStreamingServer[pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse], requests chan<- int64) (err error) {
	defer close(requests)
	defer intercept.Recovered(&err)
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case requests <- r.GetID():
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// waitingIDs are the first id and those that wait behind it.
func waitingIDs(first int64, requests <-chan int64) []int64 {
	ids := []int64{first}
	for len(ids) < renewalsMax {
		select {
		case id, ok := <-requests:
			if !ok {
				return ids
			}
			ids = append(ids, id)
		default:
			return ids
		}
	}
	return ids
}

// renewalWaitMax is how long renewals wait for their tenant's rate.
const renewalWaitMax = 5 * time.Second

// keepAlive renews leases, if need be after a wait for the tenant's rate: clients of
// etcd take a stream that ends with a refusal for the end of all their leases.
func (s *leaseServer) keepAlive(ctx context.Context, request *flotillav1.KeepAliveRequest) (*flotillav1.KeepAliveResponse, error) {
	for until := time.Now().Add(renewalWaitMax); ; {
		response, err := s.kv.KeepAliveEach(ctx, proto.CloneOf(request))
		refused, ok := errors.AsType[*tenancy.QuotaError](err)
		if !ok || refused.RetryAfter == 0 || time.Now().Add(refused.RetryAfter).After(until) {
			return response, err
		}
		timer := time.NewTimer(refused.RetryAfter)
		select {
		case <-timer.C:
		case <-s.stopping:
			timer.Stop()
			return nil, shards.ErrStopping
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

// renew renews leases and answers each. A lease that does not exist is answered
// with a TTL of 0.
func (s *leaseServer) renew(ctx context.Context, c *caller, ids []int64, send func(*pb.LeaseKeepAliveResponse) error) error {
	request := &flotillav1.KeepAliveRequest{Namespace: c.namespace}
	for _, id := range ids {
		if id > 0 {
			request.Ids = append(request.Ids, id)
		}
	}
	response := new(flotillav1.KeepAliveResponse)
	if len(request.GetIds()) > 0 {
		var err error
		if response, err = s.keepAlive(ctx, request); err != nil {
			return err
		}
	} else {
		state, err := s.kv.State(ctx, c.namespace, shards.Serializable)
		if err != nil {
			return err
		}
		response.Revision = uint64(state.Revision)
	}
	kept := response.GetLeases()
	for _, id := range ids {
		answer := &pb.LeaseKeepAliveResponse{Header: s.header(c, response.GetRevision()), ID: id}
		if id > 0 {
			answer.TTL = kept[0].GetTtl().GetSeconds()
			kept = kept[1:]
		}
		if err := send(answer); err != nil {
			return err
		}
	}
	return nil
}
