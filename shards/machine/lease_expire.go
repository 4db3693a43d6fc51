package machine

import (
	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// dueLease is a lease whose time is over.
type dueLease struct {
	name leaseName
	keys [][]byte
}

// expireLeases ends the leases whose deadline the shard's clock has reached.
// What it needs is read before anything is written: reading what a batch has
// written before costs more than reading what is committed.
func (m *Machine) expireLeases(b Batch, req *internalv1.ExpireLeases) (proto.Message, error) {
	due, err := m.dueLeases(b, req)
	if err != nil {
		return nil, err
	}
	response := &internalv1.ExpireLeasesResponse{Leases: uint64(len(due))}
	for _, d := range due {
		deleted, err := m.expire(b, d)
		if err != nil {
			return nil, err
		}
		response.Keys += uint64(deleted)
	}
	atMS, ok := m.leases.settle(m.Clock())
	response.More = ok && atMS <= m.Clock()
	return response, nil
}

// dueLeases takes the leases to end out of the queue. One that has more keys
// than a command may delete is ended alone.
func (m *Machine) dueLeases(b Batch, req *internalv1.ExpireLeases) ([]dueLease, error) {
	var due []dueLease
	keys := uint64(0)
	for uint64(len(due)) < uint64(req.GetLeasesMax()) {
		held := m.leases.takeDue(m.Clock())
		if held == nil {
			break
		}
		if keys += held.Keys; len(due) > 0 && keys > uint64(req.GetKeysMax()) {
			m.leases.putBack(held)
			break
		}
		attached, err := attachedKeys(b, held.name, held.Lease)
		if err != nil {
			return nil, err
		}
		due = append(due, dueLease{held.name, attached})
	}
	return due, nil
}

func (m *Machine) expire(b Batch, d dueLease) (deleted int, err error) {
	ns, err := m.namespaces.get(b, d.name.ns)
	if err != nil {
		return 0, err
	}
	if ns.drop != nil { // its keys are gone
		return 0, m.dropLease(b, d.name)
	}
	before := ns.state
	s := &scope{m: m, batch: b, id: d.name.ns, ns: ns}
	if deleted, err = s.endLease(d.name.id, d.keys); err != nil {
		return 0, err
	}
	return deleted, m.changed(b, ns, before)
}

// expiryAheadMS is how far ahead NextExpiry looks for places of leases that were
// renewed, so that none of them is taken for a lease that ends before the next
// entries are applied. On a shard with many leases there are many a second.
const expiryAheadMS = 1000

// NextExpiry is until when, by the shard's clock in milliseconds, surely no
// lease has to end; ok is false if there are no leases.
func (m *Machine) NextExpiry() (clockMS uint64, ok bool) {
	return m.leases.settle(m.Clock() + expiryAheadMS)
}

// Leases is the number of leases of the shard.
func (m *Machine) Leases() int { return len(m.leases.byName) }
