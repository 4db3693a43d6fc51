package store

import (
	"bytes"

	"github.com/flotillakv/flotilla/shards/mvcc"
)

// overlay finds what a batch wrote by prefix, without an order: versions of a
// key share an entry. It is what lets a batch stay unindexed. Keys and values
// share the batch's bytes.
type overlay struct {
	first   map[uint64]int32 // hash -> place of the first entry
	entries []overlayEntry
}

type overlayEntry struct {
	hash   uint64
	prefix []byte
	// value is the row's, or the newest version's that the batch wrote.
	value []byte
	// rev is the revision of that version; 0 for a plain row.
	rev mvcc.Revision
	// deleted says that the row was deleted, or that some version was, so
	// that only an index can tell which one is the newest.
	deleted bool
	// next is the place of the next entry with the same hash, -1 for none.
	next int32
}

// overlayKept is how many entries' memory is kept for the next batch.
const overlayKept = 1 << 14

func newOverlay() overlay { return overlay{first: make(map[uint64]int32)} }

// find returns the entry of a prefix, or nil if the batch did not write it.
func (o *overlay) find(hash uint64, prefix []byte) *overlayEntry {
	at, ok := o.first[hash]
	if !ok {
		return nil
	}
	for ; at >= 0; at = o.entries[at].next {
		if e := &o.entries[at]; bytes.Equal(e.prefix, prefix) {
			return e
		}
	}
	return nil
}

// entry returns the entry of a prefix, which is added if need be and must then
// not change.
func (o *overlay) entry(hash uint64, prefix []byte) *overlayEntry {
	if e := o.find(hash, prefix); e != nil {
		return e
	}
	next, ok := o.first[hash]
	if !ok {
		next = -1
	}
	o.first[hash] = int32(len(o.entries))
	o.entries = append(o.entries, overlayEntry{hash: hash, prefix: prefix, next: next})
	return &o.entries[len(o.entries)-1]
}

func (o *overlay) setRow(hash uint64, prefix, value []byte) {
	e := o.entry(hash, prefix)
	e.value, e.deleted = value, false
}

func (o *overlay) deleteRow(hash uint64, prefix []byte) {
	e := o.entry(hash, prefix)
	e.value, e.deleted = nil, true
}

// putVersion tells whether the version is the newest of those that the batch
// wrote.
func (o *overlay) putVersion(hash uint64, prefix []byte, rev mvcc.Revision, value []byte) bool {
	e := o.entry(hash, prefix)
	if rev < e.rev {
		return false
	}
	e.rev, e.value = rev, value
	return true
}

func (o *overlay) deleteVersion(hash uint64, prefix []byte) { o.entry(hash, prefix).deleted = true }

func (o *overlay) reset() {
	if len(o.entries) > overlayKept {
		*o = newOverlay()
		return
	}
	clear(o.first)
	clear(o.entries)
	o.entries = o.entries[:0]
}
