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

// stepsBeforeSeek is how many versions that are too new are stepped over
// before it is cheaper to seek. A key with thousands costs one seek.
const stepsBeforeSeek = 2

// versionIterator implements mvcc.VersionIterator.
type versionIterator struct {
	scan
	at         mvcc.Revision
	descending bool

	key  []byte // of the present version; shares the iterator's bytes
	rev  mvcc.Revision
	seek []byte // buffer
}

func newVersionIterator(
	from scanner, shard uint32, ns tenancy.NamespaceID, start, end []byte, at mvcc.Revision, descending bool,
) *versionIterator {
	return &versionIterator{
		scan:       rangeScan(from, shard, ns, machine.TableVersions, start, end),
		at:         at,
		descending: descending,
	}
}

// Next implements mvcc.VersionIterator.
func (v *versionIterator) Next() bool {
	if v.it == nil {
		return false
	}
	if v.descending {
		return v.nextDown()
	}
	return v.nextUp()
}

func (v *versionIterator) nextUp() bool {
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

// nextDown comes to each key at its oldest version and seeks the wanted one:
// going backwards over the versions between could be thousands of steps.
func (v *versionIterator) nextDown() bool {
	var valid bool
	if v.begun {
		valid = v.it.SeekLT(v.prefix())
	} else {
		v.begun = true
		valid = v.it.Last()
	}
	for valid {
		if !v.load() {
			return v.fail(errNotAVersion)
		}
		if v.rev > v.at { // and so are all others of the key
			valid = v.it.SeekLT(v.prefix())
			continue
		}
		if !v.it.SeekGE(v.versionAt()) {
			return false
		}
		if !v.load() {
			return v.fail(errNotAVersion)
		}
		return true
	}
	return false
}

func (v *versionIterator) load() (ok bool) {
	v.key, v.rev, ok = decodeVersion(v.it.Key())
	return ok
}

// prefix is the present key's prefix, before all its versions.
func (v *versionIterator) prefix() []byte {
	k := v.it.Key()
	v.seek = append(v.seek[:0], k[:splitKey(k)]...)
	return v.seek
}

// versionAt is the wanted version of the present key.
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
