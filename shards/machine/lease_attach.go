package machine

import (
	"bytes"
	"fmt"

	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// checkAttach refuses to attach a key to a lease that is not there, or has so
// many that it takes no more.
func (m *Machine) checkAttach(name leaseName) error {
	held := m.leases.find(name)
	if held == nil {
		return mvcc.ErrLeaseNotFound
	}
	if held.Keys >= LeaseKeysMax {
		return &mvcc.TooLargeError{Limit: "lease_keys_max", Value: held.Keys + 1, Max: LeaseKeysMax}
	}
	return nil
}

// moveLease stores that a key is attached to another lease than before; 0 is
// none.
func (m *Machine) moveLease(b Batch, ns tenancy.NamespaceID, key []byte, from, to int64) error {
	if from != 0 {
		if err := b.DeleteRow(TableLeaseKeys, ns, appendAttachedKey(nil, from, key)); err != nil {
			return fmt.Errorf("detach a key from a lease: %w", err)
		}
		if err := m.countKey(b, leaseName{ns, from}, -1); err != nil {
			return err
		}
	}
	if to != 0 {
		if err := b.SetRow(TableLeaseKeys, ns, appendAttachedKey(nil, to, key), nil); err != nil {
			return fmt.Errorf("attach a key to a lease: %w", err)
		}
		return m.countKey(b, leaseName{ns, to}, 1)
	}
	return nil
}

// countKey keeps the number of a lease's keys. A lease that is being ended is
// not there any more.
func (m *Machine) countKey(b Batch, name leaseName, change int) error {
	held := m.leases.find(name)
	if held == nil {
		return nil
	}
	held.Keys += uint64(change) // wraps around as it should
	return storeLease(b, name, held.Lease)
}

// attachedKeys reads the keys of a lease.
func attachedKeys(b Batch, name leaseName, l Lease) ([][]byte, error) {
	if l.Keys == 0 {
		return nil, nil
	}
	keys := make([][]byte, 0, l.Keys)
	start, end := LeaseKeysRange(name.id)
	it := b.Rows(TableLeaseKeys, name.ns, start, end)
	for it.Next() {
		keys = append(keys, bytes.Clone(AttachedKey(it.Key())))
	}
	if err := it.Close(); err != nil {
		return nil, fmt.Errorf("read the keys of a lease: %w", err)
	}
	return keys, nil
}

// endLease removes a lease, and its keys in one revision.
func (s *scope) endLease(id int64, keys [][]byte) (deleted int, err error) {
	name := leaseName{s.id, id}
	s.m.leases.remove(name) // first, so that no key counts it down
	s.ns.leases--
	if err := s.batch.DeleteRow(TableLeases, shardRows, LeaseKey(s.id, id)); err != nil {
		return 0, fmt.Errorf("end a lease: %w", err)
	}
	if len(keys) == 0 {
		return 0, nil
	}
	return mvcc.DeleteKeys(s.batch.Namespace(s.id), &s.ns.state, s, keys)
}
