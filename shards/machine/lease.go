package machine

import (
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

const (
	// LeaseTTLSecondsMax is the longest TTL of a lease, in seconds.
	LeaseTTLSecondsMax = 9_000_000_000
	// KeepAliveIDsMax is the most leases that one command renews.
	KeepAliveIDsMax = 10_000
	// LeaseKeysMax is from how many attached keys on a lease takes no more. One
	// transaction may pass it. It bounds the work of ending the lease, which is
	// one command's.
	LeaseKeysMax = 10_000

	// leaseGraceMS is what a lease gets beyond its TTL. Its deadline is told by
	// the clock of the entry that granted or renewed it, but a holder may count
	// from when it was told, which is later by the entry's way through the log.
	leaseGraceMS = 250
)

// CheckGrantLease checks the form of a request. Its error is an
// *mvcc.InvalidError or *mvcc.TooLargeError.
func CheckGrantLease(req *flotillav1.GrantLeaseRequest) error {
	if err := checkRequestID(req.GetRequestId()); err != nil {
		return err
	}
	if req.GetId() < 0 {
		return &mvcc.InvalidError{Field: "id", Message: "must be greater than 0, or 0 to let the server choose"}
	}
	_, err := ttlSeconds(req.GetTtl())
	return err
}

// CheckKeepAlive checks the form of a request, likewise.
func CheckKeepAlive(req *flotillav1.KeepAliveRequest) error {
	n := len(req.GetIds())
	if n == 0 {
		return &mvcc.InvalidError{Field: "ids", Message: "must name at least one lease"}
	}
	if n > KeepAliveIDsMax {
		return &mvcc.TooLargeError{Limit: "keep_alive_ids_max", Value: uint64(n), Max: KeepAliveIDsMax}
	}
	return nil
}

// CheckRevokeLease checks the form of a request, likewise.
func CheckRevokeLease(req *flotillav1.RevokeLeaseRequest) error {
	if err := checkRequestID(req.GetRequestId()); err != nil {
		return err
	}
	return CheckLeaseID(req.GetId())
}

// CheckLeaseID refuses an id that no lease can have with an *mvcc.InvalidError.
func CheckLeaseID(id int64) error {
	if id <= 0 {
		return &mvcc.InvalidError{Field: "id", Message: "must be greater than 0"}
	}
	return nil
}

func checkRequestID(id string) error {
	if n := len(id); n > mvcc.RequestIDBytesMax {
		return &mvcc.TooLargeError{Limit: "request_id_bytes_max", Value: uint64(n), Max: mvcc.RequestIDBytesMax}
	}
	return nil
}

// ttlSeconds is a TTL in whole seconds; parts of one are rounded up.
func ttlSeconds(ttl *durationpb.Duration) (uint64, error) {
	seconds := ttl.GetSeconds()
	if ttl.GetNanos() > 0 {
		seconds++
	}
	if ttl == nil || ttl.CheckValid() != nil || seconds < 1 || seconds > LeaseTTLSecondsMax {
		return 0, &mvcc.InvalidError{Field: "ttl", Message: fmt.Sprintf("must be 1 s to %d s", uint64(LeaseTTLSecondsMax))}
	}
	return uint64(seconds), nil
}

// grantLease begins a lease, unless the namespace has leasesMax already.
func grantLease(leasesMax uint64) func(*scope, *flotillav1.GrantLeaseRequest) (*flotillav1.GrantLeaseResponse, error) {
	return func(s *scope, req *flotillav1.GrantLeaseRequest) (*flotillav1.GrantLeaseResponse, error) {
		if err := CheckGrantLease(req); err != nil {
			return nil, err
		}
		if err := CheckLeaseID(req.GetId()); err != nil {
			return nil, err
		}
		name := leaseName{s.id, req.GetId()}
		if s.m.leases.find(name) != nil {
			return nil, mvcc.ErrLeaseExists
		}
		if s.ns.leases >= leasesMax {
			return nil, &tenancy.QuotaError{Limit: "leases_max", Value: leasesMax}
		}
		ttl, err := ttlSeconds(req.GetTtl())
		if err != nil {
			return nil, err
		}
		l := Lease{TTLSeconds: ttl, DeadlineMS: s.m.deadline(ttl)}
		s.m.leases.add(name, l)
		s.ns.leases++
		return &flotillav1.GrantLeaseResponse{
			Revision: uint64(s.ns.state.Revision), Id: req.GetId(), Ttl: &durationpb.Duration{Seconds: int64(ttl)},
		}, storeLease(s.batch, name, l)
	}
}

// deadline is when a lease ends that is granted or renewed now.
func (m *Machine) deadline(ttlSeconds uint64) uint64 {
	return m.Clock() + ttlSeconds*1000 + leaseGraceMS
}

func storeLease(b Batch, name leaseName, l Lease) error {
	var key [leaseKeyBytes]byte
	var row [32]byte // and more if need be
	if err := b.SetRow(TableLeases, shardRows, appendLeaseKey(key[:0], name), appendLease(row[:0], l)); err != nil {
		return fmt.Errorf("store a lease: %w", err)
	}
	return nil
}

// keepAlive renews leases. There are more of these than of all other commands
// on leases, so it reads nothing and writes a row for each.
func (m *Machine) keepAlive(b Batch, c *internalv1.Command, req *flotillav1.KeepAliveRequest) (proto.Message, error) {
	id := tenancy.NamespaceID(c.GetNamespaceId())
	ns, err := m.owned(b, id, c.GetEpoch())
	if err != nil {
		return nil, err
	}
	if err := CheckKeepAlive(req); err != nil {
		return nil, err
	}
	// Two allocations for all, and one for each TTL that differs from the one
	// before.
	kept := make([]flotillav1.KeptLease, len(req.GetIds()))
	response := &flotillav1.KeepAliveResponse{
		Revision: uint64(ns.state.Revision), Leases: make([]*flotillav1.KeptLease, len(kept)),
	}
	ttl := &durationpb.Duration{}
	for _, i := range ascending(req.GetIds()) {
		leaseID := req.GetIds()[i]
		seconds, err := m.renew(b, leaseName{id, leaseID})
		if err != nil {
			return nil, err
		}
		if ttl.GetSeconds() != seconds {
			ttl = &durationpb.Duration{Seconds: seconds}
		}
		kept[i].Id, kept[i].Ttl = leaseID, ttl
		response.Leases[i] = &kept[i]
	}
	return response, nil
}

// ascending is the places of the ids from the least to the greatest. Rows that
// are written in their order cost half.
func ascending(ids []int64) []int {
	places := make([]int, len(ids))
	for i := range places {
		places[i] = i
	}
	slices.SortFunc(places, func(a, b int) int { return cmp.Compare(ids[a], ids[b]) })
	return places
}

// renew gives a lease its whole TTL again, and returns it in seconds; 0 if
// there is no such lease.
func (m *Machine) renew(b Batch, name leaseName) (ttlSeconds int64, err error) {
	held := m.leases.find(name)
	if held == nil {
		return 0, nil
	}
	if deadline := m.deadline(held.TTLSeconds); deadline != held.DeadlineMS {
		held.DeadlineMS = deadline
		err = storeLease(b, name, held.Lease)
	}
	return int64(held.TTLSeconds), err
}

// revokeLease ends a lease because its holder says so.
func revokeLease(s *scope, req *flotillav1.RevokeLeaseRequest) (*flotillav1.RevokeLeaseResponse, error) {
	if err := CheckRevokeLease(req); err != nil {
		return nil, err
	}
	name := leaseName{s.id, req.GetId()}
	held := s.m.leases.find(name)
	if held == nil {
		return nil, mvcc.ErrLeaseNotFound
	}
	keys, err := attachedKeys(s.batch, name, held.Lease)
	if err != nil {
		return nil, err
	}
	deleted, err := s.endLease(req.GetId(), keys)
	return &flotillav1.RevokeLeaseResponse{Revision: uint64(s.ns.state.Revision), Deleted: uint64(deleted)}, err
}
