package machine

import (
	"encoding/binary"
	"errors"

	"github.com/flotillakv/flotilla/tenancy"
)

// A lease is two kinds of rows. Those of all leases of a shard are together, so
// that a replica that opens reads one range of them:
//
//	TableLeases     shard      namespace id (8 B) | lease id (8 B)
//	                           -> format (1 B) | TTL | deadline | keys   (uvarints)
//	TableLeaseKeys  namespace  lease id (8 B) | key -> nothing
//
// Ids are big endian and positive, so rows are in their order.
const leaseFormat = 1

// Lease is what is stored of a lease.
type Lease struct {
	// TTLSeconds is how long it lasts without being kept alive.
	TTLSeconds uint64
	// DeadlineMS is when it ends, in milliseconds of the shard's clock.
	DeadlineMS uint64
	// Keys is the number of keys that are attached to it.
	Keys uint64
}

// RemainingMS is how long the lease still lasts for its holder when the shard's
// clock is at clockMS: from its TTL down to 0. It is really ended somewhat
// later, see leaseGraceMS.
func (l Lease) RemainingMS(clockMS uint64) uint64 {
	end := l.DeadlineMS - min(leaseGraceMS, l.DeadlineMS)
	return min(end-min(clockMS, end), l.TTLSeconds*1000)
}

var errBadLease = errors.New("a lease's row is malformed")

// LeaseKey is the key of a lease's row in TableLeases.
func LeaseKey(ns tenancy.NamespaceID, id int64) []byte {
	return appendLeaseKey(make([]byte, 0, leaseKeyBytes), leaseName{ns, id})
}

const leaseKeyBytes = 16

func appendLeaseKey(dst []byte, name leaseName) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(name.ns))
	return binary.BigEndian.AppendUint64(dst, uint64(name.id))
}

// DecodeLeaseKey takes the key of a row of TableLeases apart.
func DecodeLeaseKey(key []byte) (tenancy.NamespaceID, int64, error) {
	if len(key) != leaseKeyBytes {
		return 0, 0, errBadLease
	}
	return tenancy.NamespaceID(binary.BigEndian.Uint64(key)), int64(binary.BigEndian.Uint64(key[8:])), nil
}

func appendLease(dst []byte, l Lease) []byte {
	dst = append(dst, leaseFormat)
	dst = binary.AppendUvarint(dst, l.TTLSeconds)
	dst = binary.AppendUvarint(dst, l.DeadlineMS)
	return binary.AppendUvarint(dst, l.Keys)
}

// DecodeLease decodes the value of a row of TableLeases.
func DecodeLease(row []byte) (Lease, error) {
	if len(row) == 0 || row[0] != leaseFormat {
		return Lease{}, errBadLease
	}
	row = row[1:]
	var fields [3]uint64
	for i := range fields {
		value, n := binary.Uvarint(row)
		if n <= 0 {
			return Lease{}, errBadLease
		}
		fields[i], row = value, row[n:]
	}
	if len(row) > 0 {
		return Lease{}, errBadLease
	}
	return Lease{TTLSeconds: fields[0], DeadlineMS: fields[1], Keys: fields[2]}, nil
}

// LeaseKeysRange is the bounds of a lease's rows in TableLeaseKeys.
func LeaseKeysRange(id int64) (start, end []byte) {
	start = binary.BigEndian.AppendUint64(nil, uint64(id))
	return start, binary.BigEndian.AppendUint64(nil, uint64(id)+1)
}

// AttachedKey is the key in the key of a row of TableLeaseKeys; it shares its
// bytes.
func AttachedKey(row []byte) []byte { return row[leaseIDBytes:] }

const leaseIDBytes = 8

func appendAttachedKey(dst []byte, id int64, key []byte) []byte {
	return append(binary.BigEndian.AppendUint64(dst, uint64(id)), key...)
}
