package shards

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// A Query is a read of one namespace. It is data, so that it can be answered on
// another node than the one that was asked.
type Query struct {
	Namespace tenancy.NamespaceID
	// Request is a GetRequest, RangeRequest, GetLeaseRequest, ListLeasesRequest
	// or a TxnRequest for which mvcc.IsReadOnly holds, all of flotilla.v1, or a
	// NamespaceStateRequest, LeaseTTLsRequest or StoredUsageRequest of internal.v1. Its namespace and
	// consistency are not looked at.
	Request proto.Message
	// KeysMax and BytesMax bound the answer of a range, as mvcc.ReadLimits do; 0
	// is no bound.
	KeysMax, BytesMax int
}

// answer answers a query from this state. Its error may be a refusal. A long read
// asks interrupted now and then, and ends with its error.
func (v *View) answer(q *Query, interrupted func() error) (proto.Message, error) {
	space, state, err := v.Namespace(q.Namespace)
	if err != nil {
		return nil, err
	}
	switch req := q.Request.(type) {
	case *flotillav1.GetRequest:
		return mvcc.Get(space, &state, req)
	case *flotillav1.RangeRequest:
		return mvcc.Range(space, &state, req, mvcc.ReadLimits{KeysMax: q.KeysMax, BytesMax: q.BytesMax, Interrupted: interrupted})
	case *flotillav1.TxnRequest:
		return mvcc.ReadTxn(space, &state, interrupted, req)
	case *flotillav1.GetLeaseRequest:
		return v.getLease(q.Namespace, req, &state)
	case *flotillav1.ListLeasesRequest:
		ids, more, err := v.Leases(q.Namespace, req.GetAfterId(), int(req.GetLimit()))
		return &flotillav1.ListLeasesResponse{Revision: uint64(state.Revision), Ids: ids, More: more}, err
	case *internalv1.NamespaceStateRequest:
		return machine.StateProto(state), nil
	case *internalv1.LeaseTTLsRequest:
		return v.leaseTTLs(interrupted, q.Namespace, &state)
	case *internalv1.StoredUsageRequest:
		return machine.StoredUsage(v.rows, q.Namespace, req)
	default:
		return nil, fmt.Errorf("%T is not a query", q.Request)
	}
}

// leaseKeysBytesMax bounds the keys of a lease in one answer, in bytes.
const leaseKeysBytesMax = 16 << 20

// getLease answers how a lease is.
func (v *View) getLease(ns tenancy.NamespaceID, req *flotillav1.GetLeaseRequest, state *mvcc.State) (proto.Message, error) {
	lease, err := v.Lease(ns, req.GetId())
	if err != nil {
		return nil, err
	}
	remaining := lease.RemainingMS(v.ClockMS())
	response := &flotillav1.GetLeaseResponse{
		Revision:   uint64(state.Revision),
		Id:         req.GetId(),
		GrantedTtl: &durationpb.Duration{Seconds: int64(lease.TTLSeconds)},
		RemainingTtl: &durationpb.Duration{
			Seconds: int64(remaining / 1000), Nanos: int32(remaining%1000) * 1_000_000,
		},
	}
	if req.GetKeys() {
		response.Keys, err = v.LeaseKeys(ns, req.GetId(), leaseKeysBytesMax)
	}
	return response, err
}

// leasesPage is how many leases are read before it is asked whether to go on.
const leasesPage = 256

// leaseTTLs answers with all leases of a namespace, at 16 bytes for each.
func (v *View) leaseTTLs(interrupted func() error, ns tenancy.NamespaceID, state *mvcc.State) (proto.Message, error) {
	response := &internalv1.LeaseTTLsResponse{Revision: uint64(state.Revision)}
	for after, more := int64(0), true; more; {
		if err := interrupted(); err != nil {
			return nil, err
		}
		var ids []int64
		var err error
		if ids, more, err = v.Leases(ns, after, leasesPage); err != nil {
			return nil, err
		}
		for _, id := range ids {
			lease, err := v.Lease(ns, id)
			if err != nil {
				return nil, err
			}
			response.Ids = append(response.Ids, id)
			response.TtlSeconds = append(response.TtlSeconds, int64(lease.TTLSeconds))
			after = id
		}
	}
	return response, nil
}
