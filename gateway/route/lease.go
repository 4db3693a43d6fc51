package route

import (
	"context"
	"crypto/rand"
	"encoding/binary"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

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

// leaseKeysBytesMax bounds the keys of a lease in one answer, in bytes.
const leaseKeysBytesMax = 16 << 20

// getLease answers how a lease is.
func getLease(v *shards.View, a admitted, req *flotillav1.GetLeaseRequest, state *mvcc.State) (proto.Message, error) {
	ns := a.route.Namespace
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

// listLeases answers a page of a namespace's leases.
func listLeases(v *shards.View, a admitted, req *flotillav1.ListLeasesRequest, state *mvcc.State) (proto.Message, error) {
	ids, more, err := v.Leases(a.route.Namespace, req.GetAfterId(), int(req.GetLimit()))
	return &flotillav1.ListLeasesResponse{Revision: uint64(state.Revision), Ids: ids, More: more}, err
}

// LeaseTTL is a lease and the TTL that it was granted.
type LeaseTTL struct {
	ID         int64
	TTLSeconds int64
}

// Leases reads all leases of a namespace from one state of its shard, in the
// order of their ids, and the revision of that state: the keys at that revision
// have no other leases. It costs 16 bytes for each.
func (kv *KV) Leases(ctx context.Context, namespace string) (leases []LeaseTTL, revision uint64, err error) {
	a, err := kv.admit(ctx, &flotillav1.ListLeasesRequest{Namespace: namespace})
	if err != nil {
		return nil, 0, err
	}
	ns := a.route.Namespace
	err = kv.host.Read(ctx, a.route.Shard, shards.Linearizable, func(v *shards.View) error {
		_, state, err := v.Namespace(ns)
		if err != nil {
			return err
		}
		revision = uint64(state.Revision)
		after, more := int64(0), true
		for more {
			var ids []int64
			if ids, more, err = v.Leases(ns, after, listLeasesMax); err != nil {
				return err
			}
			for _, id := range ids {
				lease, err := v.Lease(ns, id)
				if err != nil {
					return err
				}
				leases, after = append(leases, LeaseTTL{ID: id, TTLSeconds: int64(lease.TTLSeconds)}), id
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	return leases, revision, err
}
