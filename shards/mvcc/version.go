package mvcc

import (
	"encoding/binary"
	"errors"
	"fmt"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// A stored version of a key, which is found by the key and its mod_revision:
//
//	a write      | 0x01 | create revision | version | lease          | value    |
//	             | 1 B  | uvarint         | uvarint | zigzag uvarint | the rest |
//
//	a tombstone  | 0x02 |
//	             | 1 B  |
//
// Uvarints are the shortest ones that hold the number, so that equal versions
// have equal bytes (R4). The first byte is the format too: a changed layout
// takes a new number, and old ones stay readable.
const (
	kindPut       byte = 1
	kindTombstone byte = 2
)

// ErrCorruptVersion says that a stored version cannot be decoded. It is a
// failure of storage, not a refusal.
var ErrCorruptVersion = errors.New("a stored version is corrupt")

// Version is one stored version of a key.
type Version struct {
	// Tombstone says that the key was deleted; all else is zero then.
	Tombstone bool
	// CreateRevision is the revision at which the key was created, after its
	// last deletion.
	CreateRevision Revision
	// Version is the number of writes since the key was created, from 1.
	Version uint64
	// Lease is the lease that the key is attached to, 0 for none.
	Lease int64
	// Value is the value.
	Value []byte
}

// Head is what a key's newest version is, but for its value.
type Head struct {
	// Exists says whether the key does; all else is zero otherwise.
	Exists bool
	// ModRevision is the version's own revision.
	ModRevision Revision
	// CreateRevision, Version and Lease are the version's.
	CreateRevision Revision
	Version        uint64
	Lease          int64
	// ValueBytes is the size of the value.
	ValueBytes int
}

// HeadOf is the head of a key whose newest version is the stored one. Its error
// is ErrCorruptVersion, wrapped.
func HeadOf(mod Revision, stored []byte) (Head, error) {
	v, err := DecodeVersion(stored)
	if err != nil || v.Tombstone {
		return Head{}, err
	}
	return Head{
		Exists: true, ModRevision: mod, CreateRevision: v.CreateRevision,
		Version: v.Version, Lease: v.Lease, ValueBytes: len(v.Value),
	}, nil
}

// KeyValue is the version as the API shows it. It shares key and the value's
// bytes.
func (v Version) KeyValue(key []byte, mod Revision) *flotillav1.KeyValue {
	kv := new(flotillav1.KeyValue)
	v.fill(kv, key, v.Value, mod)
	return kv
}

// fill sets kv to the version, with the key and value given.
func (v Version) fill(kv *flotillav1.KeyValue, key, value []byte, mod Revision) {
	kv.Key, kv.Value = key, value
	kv.CreateRevision, kv.ModRevision = uint64(v.CreateRevision), uint64(mod)
	kv.Version, kv.Lease = v.Version, v.Lease
}

// encodedBytesMax is the most bytes that a version's encoding can take.
func (v Version) encodedBytesMax() int { return 1 + 3*binary.MaxVarintLen64 + len(v.Value) }

// appendVersion appends the stored form of v.
func appendVersion(b []byte, v Version) []byte {
	if v.Tombstone {
		return append(b, kindTombstone)
	}
	b = append(b, kindPut)
	b = binary.AppendUvarint(b, uint64(v.CreateRevision))
	b = binary.AppendUvarint(b, v.Version)
	b = binary.AppendVarint(b, v.Lease) // zigzag
	return append(b, v.Value...)
}

// DecodeVersion decodes a stored version, whose value shares the bytes given.
// Its error is ErrCorruptVersion, wrapped.
func DecodeVersion(stored []byte) (Version, error) {
	if len(stored) == 0 {
		return Version{}, corrupt("it is empty")
	}
	kind, rest := stored[0], stored[1:]
	switch kind {
	case kindTombstone:
		if len(rest) > 0 {
			return Version{}, corrupt("bytes follow a tombstone")
		}
		return Version{Tombstone: true}, nil
	case kindPut:
		return decodePut(rest)
	}
	return Version{}, fmt.Errorf("%w: its format is %d, which this build does not know", ErrCorruptVersion, kind)
}

func decodePut(rest []byte) (Version, error) {
	create, rest, ok := cutUvarint(rest)
	if !ok || create == 0 {
		return Version{}, corrupt("bad create revision")
	}
	version, rest, ok := cutUvarint(rest)
	if !ok || version == 0 {
		return Version{}, corrupt("bad version")
	}
	zigzag, rest, ok := cutUvarint(rest)
	if !ok {
		return Version{}, corrupt("bad lease")
	}
	lease := int64(zigzag>>1) ^ -int64(zigzag&1)
	return Version{CreateRevision: Revision(create), Version: version, Lease: lease, Value: rest}, nil
}

// cutUvarint reads the uvarint that b begins with; one that is longer than it
// must be is not ok.
func cutUvarint(b []byte) (value uint64, rest []byte, ok bool) {
	value, n := binary.Uvarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 {
		return 0, nil, false
	}
	return value, b[n:], true
}

func corrupt(what string) error { return fmt.Errorf("%w: %s", ErrCorruptVersion, what) }
