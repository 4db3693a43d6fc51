package store

import (
	"encoding/binary"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// The keys of the database, byte by byte; numbers are big endian:
//
//	plain row | shard | namespace | table | key                | 00 |
//	          | 4 B   | 8 B       | 1 B   | any bytes          | 1 B|
//
//	version   | shard | namespace |  02   | user key           | 00 | ^revision | 09 |
//	          | 4 B   | 8 B       | 1 B   | any bytes          | 1 B| 8 B       | 1 B|
//
//	event     | shard | namespace |  03   | revision | sub     | 00 |   -> user key
//	          | 4 B   | 8 B       | 1 B   | 8 B      | 4 B     | 1 B|
//
// The last byte tells how long the suffix is, itself included: 00 for none, 09
// for a revision. What comes before the suffix is the prefix, which always
// ends with 00. So Split finds the prefix from the end of the key, whatever
// bytes a user key has, and prefixes in byte order are user keys in byte
// order: "a" 00 < "a" 00 00 < "a" 01 00 < "b" 00. Inverted revisions put the
// newest version of a key first.
//
// Shard 0 is the store's own; it has one row, the format version. Rows of
// namespace 0 are the shard's own. The numbers of tables are machine's.
const (
	shardBytes  = 4
	headerBytes = shardBytes + 8 + 1

	sentinel           = 0x00
	versionSuffixBytes = 8 + 1

	eventBytes = headerBytes + 8 + 4 + 1

	// keyBytesMin is the size of a row with an empty key.
	keyBytesMin = headerBytes + 1
)

// MaxShardID is the largest shard number. Its successor is kept free, for the
// bound behind the last shard.
const MaxShardID = 1<<32 - 2

const (
	storeShard   uint32 = 0
	invalidShard uint32 = 1<<32 - 1 // nothing can be written to it
)

func appendHeader(dst []byte, shard uint32, ns tenancy.NamespaceID, table machine.Table) []byte {
	dst = binary.BigEndian.AppendUint32(dst, shard)
	dst = binary.BigEndian.AppendUint64(dst, uint64(ns))
	return append(dst, byte(table))
}

// appendRow appends the key of a plain row; for TableVersions it is the prefix
// that all versions of a key share.
func appendRow(dst []byte, shard uint32, ns tenancy.NamespaceID, table machine.Table, key []byte) []byte {
	dst = appendHeader(dst, shard, ns, table)
	dst = append(dst, key...)
	return append(dst, sentinel)
}

// appendTableEnd appends the bound behind all rows of a table: no prefix is
// shorter than the next table's header and sentinel.
func appendTableEnd(dst []byte, shard uint32, ns tenancy.NamespaceID, table machine.Table) []byte {
	return append(appendHeader(dst, shard, ns, table+1), sentinel)
}

// shardBound is the bound before all keys of a shard, which is also the one
// behind all keys of the shard before it.
func shardBound(shard uint32) []byte {
	return append(binary.BigEndian.AppendUint32(nil, shard), sentinel)
}

// appendRevision makes the key of a version of a prefix.
func appendRevision(prefix []byte, rev mvcc.Revision) []byte {
	prefix = binary.BigEndian.AppendUint64(prefix, ^uint64(rev))
	return append(prefix, versionSuffixBytes)
}

func appendVersion(dst []byte, shard uint32, ns tenancy.NamespaceID, key []byte, rev mvcc.Revision) []byte {
	return appendRevision(appendRow(dst, shard, ns, machine.TableVersions, key), rev)
}

func versionBytes(key []byte) int { return keyBytesMin + len(key) + versionSuffixBytes }

func appendEvent(dst []byte, shard uint32, ns tenancy.NamespaceID, rev mvcc.Revision, sub uint32) []byte {
	dst = appendHeader(dst, shard, ns, machine.TableEvents)
	dst = binary.BigEndian.AppendUint64(dst, uint64(rev))
	dst = binary.BigEndian.AppendUint32(dst, sub)
	return append(dst, sentinel)
}

// rowKey is what follows the header of a plain row's key.
func rowKey(k []byte) []byte {
	return k[headerBytes : len(k)-1 : len(k)-1]
}

// decodeVersion takes the key of a version apart; the key shares k's bytes. ok
// is false if k is not one.
func decodeVersion(k []byte) (key []byte, rev mvcc.Revision, ok bool) {
	n := len(k) - versionSuffixBytes
	if n < keyBytesMin || k[len(k)-1] != versionSuffixBytes || k[n-1] != sentinel {
		return nil, 0, false
	}
	return k[headerBytes : n-1 : n-1], mvcc.Revision(^binary.BigEndian.Uint64(k[n:])), true
}

// decodeEvent takes the key of an event apart; ok is false if k is not one.
func decodeEvent(k []byte) (rev mvcc.Revision, sub uint32, ok bool) {
	if len(k) != eventBytes || k[len(k)-1] != sentinel {
		return 0, 0, false
	}
	return mvcc.Revision(binary.BigEndian.Uint64(k[headerBytes:])), binary.BigEndian.Uint32(k[headerBytes+8:]), true
}
