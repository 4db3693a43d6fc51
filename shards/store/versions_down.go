package store

import (
	"bytes"

	"github.com/flotillakv/flotilla/shards/mvcc"
)

// versionsDown visits keys in reverse order. It comes to each at its oldest
// version, but the wanted one is the newest of those that are not too new. So
// it remembers a version and looks at the one before. Most keys have one: then
// the iterator is ahead, at the next key, when the remembered one is shown.
// For a key with more than a few it seeks.
type versionsDown struct {
	versionIterator
	// found is the remembered version.
	found struct {
		prefix []byte
		rev    mvcc.Revision
		value  []byte
	}
	remembered bool // the present version is the remembered one
	ahead      bool // the iterator is at the next key's oldest version
}

// rememberedValueBytesMax is up to which size a value is copied: beyond, two
// seeks are cheaper.
const rememberedValueBytesMax = 16 << 10

// Next implements mvcc.VersionIterator.
func (d *versionsDown) Next() bool {
	if d.it == nil {
		return false
	}
	for d.nextKey() {
		if !d.load() {
			return d.fail(errNotAVersion)
		}
		if d.rev <= d.at {
			return d.newest()
		} // else so are all others of the key
	}
	return false
}

// nextKey moves to the oldest version of the next key.
func (d *versionsDown) nextKey() bool {
	switch {
	case !d.begun:
		d.begun = true
		return d.it.Last()
	case d.ahead:
		d.ahead = false
		return d.it.Valid()
	default:
		return d.it.SeekLT(d.prefix())
	}
}

// newest shows the newest version of the iterator's key that is not too new,
// given that the one it is at, the oldest, is not.
func (d *versionsDown) newest() bool {
	for range stepsBeforeSeek + 1 {
		if lazy := d.it.LazyValue(); lazy.Len() > rememberedValueBytesMax {
			break
		}
		value, err := d.it.ValueAndErr()
		if err != nil {
			return d.fail(err)
		}
		d.found.prefix = append(d.found.prefix[:0], d.prefix()...)
		d.found.rev = d.rev
		d.found.value = append(d.found.value[:0], value...)
		valid := d.it.Prev()
		if err := d.it.Error(); err != nil {
			return d.fail(err)
		}
		d.ahead = !valid || !bytes.Equal(d.prefix(), d.found.prefix)
		if !d.ahead && !d.load() {
			return d.fail(errNotAVersion)
		}
		if d.ahead || d.rev > d.at {
			d.remembered, d.key, d.rev = true, rowKey(d.found.prefix), d.found.rev
			return true
		}
	}
	d.remembered = false
	if !d.it.SeekGE(d.versionAt()) {
		return d.fail(d.it.Error())
	}
	return d.load() || d.fail(errNotAVersion)
}

// Value implements mvcc.VersionIterator.
func (d *versionsDown) Value() ([]byte, error) {
	if d.remembered && d.it != nil {
		return d.found.value, nil
	}
	return d.value()
}
