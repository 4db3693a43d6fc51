package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/flotillakv/flotilla/shards/machine"
)

var errInvalidKey = errors.New("the key's last byte does not tell its suffix")

// newComparer orders keys by prefix and then by suffix, both bytewise. Its
// name is stored with the database: an order that differs needs another name.
func newComparer() *pebble.Comparer {
	return &pebble.Comparer{
		Name:                 "flotilla.v1",
		Compare:              compareKeys,
		Equal:                bytes.Equal,
		Split:                splitKey,
		ComparePointSuffixes: bytes.Compare,
		CompareRangeSuffixes: bytes.Compare,
		AbbreviatedKey:       func(k []byte) uint64 { return pebble.DefaultComparer.AbbreviatedKey(k[:splitKey(k)]) },
		Separator:            separator,
		Successor:            successor,
		ImmediateSuccessor:   func(dst, prefix []byte) []byte { return append(append(dst, prefix...), sentinel) },
		FormatKey:            func(k []byte) fmt.Formatter { return formattedKey(k) },
		ValidateKey:          validateKey,
	}
}

// splitKey returns the length of the key's prefix. It takes a key that is not
// one of ours for a prefix, so that the order stays total.
func splitKey(k []byte) int {
	if n := len(k); n >= versionSuffixBytes && k[n-1] == versionSuffixBytes {
		return n - versionSuffixBytes
	}
	return len(k)
}

func compareKeys(a, b []byte) int {
	an, bn := splitKey(a), splitKey(b)
	if c := bytes.Compare(a[:an], b[:bn]); c != 0 {
		return c
	}
	return bytes.Compare(a[an:], b[bn:]) // a bare prefix comes first
}

func validateKey(k []byte) error {
	n := splitKey(k)
	if len(k) == 0 || n > 0 && k[n-1] != sentinel {
		return errInvalidKey
	}
	return nil
}

// withoutSentinel is the key's prefix up to its sentinel.
func withoutSentinel(k []byte) []byte {
	return k[:max(splitKey(k)-1, 0)]
}

// separator shortens a to a prefix before b. Pebble's own separator of the
// prefixes will do, if it gets its sentinel back: it either returns a's, or
// one that is larger than any continuation of it.
func separator(dst, a, b []byte) []byte {
	prefix, next := withoutSentinel(a), withoutSentinel(b)
	if len(prefix) == 0 || len(next) == 0 || bytes.Equal(prefix, next) {
		return append(dst, a...)
	}
	n := len(dst)
	dst = pebble.DefaultComparer.Separator(dst, prefix, next)
	if bytes.Equal(dst[n:], prefix) {
		return append(dst[:n], a...)
	}
	return append(dst, sentinel)
}

func successor(dst, a []byte) []byte {
	if len(a) == 0 {
		return append(dst, sentinel)
	}
	prefix := withoutSentinel(a)
	n := len(dst)
	dst = pebble.DefaultComparer.Successor(dst, prefix)
	if bytes.Equal(dst[n:], prefix) {
		return append(dst[:n], a...)
	}
	return append(dst, sentinel)
}

// formattedKey shows a key in Pebble's messages. User keys are tenants' data
// and messages go to the log, so only their length is shown.
type formattedKey []byte

// Format implements fmt.Formatter.
func (k formattedKey) Format(s fmt.State, _ rune) {
	if len(k) < keyBytesMin {
		_, _ = fmt.Fprintf(s, "bound of %d bytes", len(k))
		return
	}
	shard, ns := binary.BigEndian.Uint32(k), binary.BigEndian.Uint64(k[4:])
	table := machine.Table(k[12])
	if key, rev, ok := decodeVersion(k); ok {
		_, _ = fmt.Fprintf(s, "shard %d namespace %d table %d key of %d bytes revision %d", shard, ns, table, len(key), rev)
		return
	}
	_, _ = fmt.Fprintf(s, "shard %d namespace %d table %d key of %d bytes", shard, ns, table, len(rowKey(k)))
}
