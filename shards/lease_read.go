package shards

import (
	"bytes"
	"fmt"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// ClockMS is how late it is by the shard's clock, which deadlines of leases are
// told by, in milliseconds.
func (v *View) ClockMS() uint64 { return v.clockMS }

// Lease returns a lease of a namespace. It refuses with mvcc.ErrLeaseNotFound.
func (v *View) Lease(ns tenancy.NamespaceID, id int64) (machine.Lease, error) {
	row, ok, err := v.rows.Row(machine.TableLeases, 0, machine.LeaseKey(ns, id))
	if err != nil {
		return machine.Lease{}, fmt.Errorf("read a lease: %w", err)
	}
	if !ok {
		return machine.Lease{}, mvcc.ErrLeaseNotFound
	}
	return machine.DecodeLease(row)
}

// LeaseKeys returns the keys that are attached to a lease, in byte order. It
// refuses with an *mvcc.TooLargeError if they have more than bytesMax bytes.
func (v *View) LeaseKeys(ns tenancy.NamespaceID, id int64, bytesMax int) ([][]byte, error) {
	start, end := machine.LeaseKeysRange(id)
	it := v.rows.Rows(machine.TableLeaseKeys, ns, start, end)
	var keys [][]byte
	size := 0
	for size <= bytesMax && it.Next() {
		key := bytes.Clone(machine.AttachedKey(it.Key()))
		size += len(key)
		keys = append(keys, key)
	}
	if err := it.Close(); err != nil {
		return nil, fmt.Errorf("read the keys of a lease: %w", err)
	}
	if size > bytesMax {
		return nil, &mvcc.TooLargeError{Limit: "lease_keys_bytes_max", Value: uint64(size), Max: uint64(bytesMax)}
	}
	return keys, nil
}

// Leases returns the ids of up to limit leases of a namespace that are greater
// than after, in their order, and whether there are more.
func (v *View) Leases(ns tenancy.NamespaceID, after int64, limit int) (ids []int64, more bool, err error) {
	it := v.rows.Rows(machine.TableLeases, 0, machine.LeaseKey(ns, after+1), machine.LeaseKey(ns+1, 0))
	for it.Next() {
		if len(ids) == limit {
			more = true
			break
		}
		_, id, err := machine.DecodeLeaseKey(it.Key())
		if err != nil {
			return nil, false, fmt.Errorf("%w (and closing: %w)", err, it.Close())
		}
		ids = append(ids, id)
	}
	return ids, more, it.Close()
}
