package store

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// findVersion positions it at the newest version that is not newer than the
// one that key names.
func findVersion(it *pebble.Iterator, key []byte) (rev mvcc.Revision, ok bool, err error) {
	if !it.SeekPrefixGE(key) {
		return 0, false, it.Error()
	}
	_, rev, ok = decodeVersion(it.Key())
	if !ok {
		return 0, false, errNotAVersion
	}
	return rev, true, nil
}

var errNotAVersion = errors.New("a row among versions is not one")

// stepsBeforeSeek is how many versions of a key are stepped over before it is
// cheaper to seek. A key with thousands costs one seek.
const stepsBeforeSeek = 2

// versionIterator implements mvcc.VersionIterator. Keys in reverse order are
// versionsDown's.
type versionIterator struct {
	scan
	at mvcc.Revision

	key  []byte // of the present version; shares the iterator's bytes
	rev  mvcc.Revision
	seek []byte // buffer
}

func newVersionIterator(
	from scanner, shard uint32, ns tenancy.NamespaceID, start, end []byte, at mvcc.Revision, descending bool,
) mvcc.VersionIterator {
	v := versionIterator{scan: rangeScan(from, shard, ns, machine.TableVersions, start, end), at: at}
	if descending {
		return &versionsDown{versionIterator: v}
	}
	return &v
}

// Next implements mvcc.VersionIterator.
func (v *versionIterator) Next() bool {
	if v.it == nil {
		return false
	}
	var valid bool
	if v.begun {
		valid = v.it.NextPrefix()
	} else {
		v.begun = true
		valid = v.it.First()
	}
	for steps := 0; valid; steps++ {
		if !v.load() {
			return v.fail(errNotAVersion)
		}
		switch {
		case v.rev <= v.at:
			return true
		case steps < stepsBeforeSeek:
			valid = v.it.Next()
		default:
			valid = v.it.SeekGE(v.versionAt())
		}
	}
	return false
}

// load takes the iterator's key apart.
func (v *versionIterator) load() (ok bool) {
	v.key, v.rev, ok = decodeVersion(v.it.Key())
	return ok
}

// prefix is the prefix of the iterator's key, before all its versions.
func (v *versionIterator) prefix() []byte {
	k := v.it.Key()
	v.seek = append(v.seek[:0], k[:splitKey(k)]...)
	return v.seek
}

// versionAt is the wanted version of the iterator's key.
func (v *versionIterator) versionAt() []byte {
	v.seek = appendRevision(v.prefix(), v.at)
	return v.seek
}

// Key implements mvcc.VersionIterator.
func (v *versionIterator) Key() []byte { return v.key }

// Revision implements mvcc.VersionIterator.
func (v *versionIterator) Revision() mvcc.Revision { return v.rev }

// Value implements mvcc.VersionIterator.
func (v *versionIterator) Value() ([]byte, error) { return v.value() }
