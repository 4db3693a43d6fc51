package route

import (
	"context"
	"crypto/rand"
	"encoding/binary"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

// checkLease is check for the requests to leases; ok is false for all others.
func (a *admitted) checkLease() (ok bool, err error) {
	switch req := a.request.(type) {
	case *flotillav1.GrantLeaseRequest:
		req.Namespace = ""
		a.command = &internalv1.Command{Operation: &internalv1.Command_GrantLease{
			GrantLease: &internalv1.GrantLease{Request: req, LeasesMax: uint64(a.limits.LeasesMax)},
		}}
		if err := machine.CheckGrantLease(req); err != nil {
			return true, err
		}
		if req.GetId() == 0 {
			// Chosen here and not by the machine, which has no chance in it.
			// Two of them meet once in many lifetimes; then one is refused.
			req.Id = randomLeaseID()
		}
		return true, nil
	case *flotillav1.KeepAliveRequest:
		req.Namespace = ""
		a.command = &internalv1.Command{Operation: &internalv1.Command_KeepAlive{KeepAlive: req}}
		return true, machine.CheckKeepAlive(req)
	case *flotillav1.RevokeLeaseRequest:
		req.Namespace = ""
		a.command = &internalv1.Command{Operation: &internalv1.Command_RevokeLease{RevokeLease: req}}
		return true, machine.CheckRevokeLease(req)
	case *flotillav1.GetLeaseRequest:
		req.Namespace = ""
		return true, machine.CheckLeaseID(req.GetId())
	case *flotillav1.ListLeasesRequest:
		req.Namespace = ""
		return true, checkListLeases(req)
	default:
		return false, nil
	}
}

// randomLeaseID is greater than 0.
func randomLeaseID() int64 {
	for {
		var b [8]byte
		rand.Read(b[:]) // it never fails
		if id := int64(binary.LittleEndian.Uint64(b[:]) >> 1); id > 0 {
			return id
		}
	}
}

// listLeasesMax is the most ids in one answer.
const listLeasesMax = 10_000

func checkListLeases(req *flotillav1.ListLeasesRequest) error {
	switch {
	case req.GetAfterId() < 0:
		return &mvcc.InvalidError{Field: "after_id", Message: "must not be negative"}
	case req.GetLimit() > listLeasesMax:
		return &mvcc.TooLargeError{Limit: "list_leases_max", Value: uint64(req.GetLimit()), Max: listLeasesMax}
	case req.GetLimit() == 0:
		req.Limit = listLeasesMax
	}
	return nil
}

// KeepAliveEach renews leases that several requests of the caller have named, one
// each: they count as so many.
func (kv *KV) KeepAliveEach(ctx context.Context, req *flotillav1.KeepAliveRequest) (*flotillav1.KeepAliveResponse, error) {
	response, err := kv.doCounted(ctx, req, len(req.GetIds()))
	return as[*flotillav1.KeepAliveResponse](response, err)
}

// Leases reads all leases of a namespace from one state of its shard: their ids
// and the TTLs that they were granted. It costs 16 bytes for each.
func (kv *KV) Leases(ctx context.Context, namespace string) (*internalv1.LeaseTTLsResponse, error) {
	a, err := kv.admit(ctx, &flotillav1.ListLeasesRequest{Namespace: namespace}, 1)
	if err != nil {
		return nil, err
	}
	query := shards.Query{Namespace: a.route.Namespace, Request: &internalv1.LeaseTTLsRequest{}}
	response, err := shards.Ask(ctx, kv.router, a.route.Shard, a.tenant, shards.Linearizable, query)
	leases, err := as[*internalv1.LeaseTTLsResponse](response, err)
	a.answered(&flotillav1.ListLeasesResponse{Ids: leases.GetIds()}, err)
	return leases, err
}
