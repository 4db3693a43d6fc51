package model

import (
	"cmp"
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/durationpb"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// graceMS is what a lease lasts beyond its TTL.
const graceMS = 250

// ttlSecondsMax is the longest TTL.
const ttlSecondsMax = 9_000_000_000

// Leased is a namespace with leases that are granted and end. Moments are in
// milliseconds of a clock that never goes backwards.
type Leased struct {
	*Model

	leases map[int64]lease
}

type lease struct {
	ttlSeconds int64
	endMS      uint64
}

// NewLeased is an empty namespace.
func NewLeased() *Leased { return &Leased{Model: New(), leases: map[int64]lease{}} }

// GrantLease is LeaseService.GrantLease with an id.
func (m *Leased) GrantLease(nowMS uint64, req *flotillav1.GrantLeaseRequest) (*flotillav1.GrantLeaseResponse, error) {
	seconds := req.GetTtl().GetSeconds()
	if req.GetTtl().GetNanos() > 0 {
		seconds++
	}
	if req.GetId() <= 0 || seconds < 1 || seconds > ttlSecondsMax {
		return nil, &RefusalError{Kind: Invalid}
	}
	if m.Leases[req.GetId()] {
		return nil, &RefusalError{Kind: LeaseExists}
	}
	m.Leases[req.GetId()] = true
	m.leases[req.GetId()] = lease{seconds, endMS(nowMS, seconds)}
	return &flotillav1.GrantLeaseResponse{
		Revision: m.Revision(), Id: req.GetId(), Ttl: &durationpb.Duration{Seconds: seconds},
	}, nil
}

// KeepAlive is LeaseService.KeepAlive.
func (m *Leased) KeepAlive(nowMS uint64, req *flotillav1.KeepAliveRequest) (*flotillav1.KeepAliveResponse, error) {
	if len(req.GetIds()) == 0 {
		return nil, &RefusalError{Kind: Invalid}
	}
	response := &flotillav1.KeepAliveResponse{Revision: m.Revision()}
	for _, id := range req.GetIds() {
		l, ok := m.leases[id]
		if ok {
			l.endMS = endMS(nowMS, l.ttlSeconds)
			m.leases[id] = l
		}
		response.Leases = append(response.Leases, &flotillav1.KeptLease{Id: id, Ttl: &durationpb.Duration{Seconds: l.ttlSeconds}})
	}
	return response, nil
}

// RevokeLease is LeaseService.RevokeLease.
func (m *Leased) RevokeLease(req *flotillav1.RevokeLeaseRequest) (*flotillav1.RevokeLeaseResponse, error) {
	if req.GetId() <= 0 {
		return nil, &RefusalError{Kind: Invalid}
	}
	if !m.Leases[req.GetId()] {
		return nil, &RefusalError{Kind: LeaseNotFound}
	}
	deleted := m.endLease(req.GetId())
	return &flotillav1.RevokeLeaseResponse{Revision: m.Revision(), Deleted: uint64(deleted)}, nil
}

// ExpireLeases ends the leases whose end has come, the earliest first, and tells
// how many leases and keys there were.
func (m *Leased) ExpireLeases(nowMS uint64) (leases, keys int) {
	due := slices.DeleteFunc(m.LeaseIDs(), func(id int64) bool { return m.leases[id].endMS > nowMS })
	slices.SortStableFunc(due, func(a, b int64) int { return cmp.Compare(m.leases[a].endMS, m.leases[b].endMS) })
	for _, id := range due {
		keys += m.endLease(id)
	}
	return len(due), keys
}

// LeaseIDs are the leases that there are, by id.
func (m *Leased) LeaseIDs() []int64 { return slices.Sorted(maps.Keys(m.leases)) }

// LeaseKeys are the keys that are attached to a lease, in byte order.
func (m *Leased) LeaseKeys(id int64) []string {
	var keys []string
	for _, kv := range m.Keys() {
		if kv.GetLease() == id {
			keys = append(keys, string(kv.GetKey()))
		}
	}
	return keys
}

// endLease removes a lease, and its keys in one revision.
func (m *Leased) endLease(id int64) (deleted int) {
	d := m.begin()
	for _, key := range m.LeaseKeys(id) {
		delete(d.keys, key)
		d.changes = append(d.changes, key)
	}
	delete(m.leases, id)
	delete(m.Leases, id)
	_ = m.end(d, nil)
	return len(d.changes)
}

func endMS(nowMS uint64, ttlSeconds int64) uint64 { return nowMS + uint64(ttlSeconds)*1000 + graceMS }
