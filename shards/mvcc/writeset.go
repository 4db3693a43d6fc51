package mvcc

import (
	"bytes"
	"slices"
	"sort"
)

// write is one key's new version.
type write struct {
	key                []byte
	stored             []byte // the encoded version
	leaseFrom, leaseTo int64
}

// writeSet is the writes of a running transaction, laid over what is stored:
// it is read as if they were stored already, at their revision.
//
// Invariant: no key is in it twice. CheckTxn refuses a path that puts a key
// twice, or puts and deletes it; a key that was deleted cannot be deleted again.
type writeSet struct {
	base     Writer
	revision Revision
	// writes are in the order in which they happened: an event's place among
	// those of its revision.
	writes []write
	// sorted is the places in writes by key, of as many as there were when
	// the set was last read.
	sorted []int
}

func (s *writeSet) add(writes ...write) { s.writes = append(s.writes, writes...) }

// Version implements versionReader.
func (s *writeSet) Version(key []byte, at Revision) (Revision, []byte, bool, error) {
	if at >= s.revision {
		if i, ok := s.find(key); ok {
			return s.revision, s.at(i).stored, true, nil
		}
	}
	return s.base.Version(key, at)
}

// Head implements headReader.
func (s *writeSet) Head(key []byte) (Head, error) {
	if len(s.writes) > 0 {
		if i, ok := s.find(key); ok {
			return HeadOf(s.revision, s.at(i).stored)
		}
	}
	return s.base.Head(key)
}

// Versions implements versionReader.
func (s *writeSet) Versions(start, end []byte, at Revision, descending bool) VersionIterator {
	stored := s.base.Versions(start, end, at, descending)
	if at < s.revision || len(s.writes) == 0 {
		return stored
	}
	low, _ := s.find(start)
	high := len(s.sorted)
	if len(end) > 0 {
		high, _ = s.find(end)
	}
	pending := slices.Clone(s.sorted[low:max(low, high)])
	if descending {
		slices.Reverse(pending)
	}
	return newOverlaidIterator(s, pending, stored, descending)
}

// at is the i-th write by key.
func (s *writeSet) at(i int) *write { return &s.writes[s.sorted[i]] }

// find is the place by key of the first write that is not less than key, and
// whether it is key.
func (s *writeSet) find(key []byte) (int, bool) {
	s.sort()
	return sort.Find(len(s.sorted), func(i int) int { return bytes.Compare(key, s.at(i).key) })
}

// sort brings sorted up to date. New writes are sorted by themselves and then
// merged in, because a transaction may read between any two of its writes.
func (s *writeSet) sort() {
	old := s.sorted
	if len(old) == len(s.writes) {
		return
	}
	fresh := make([]int, 0, len(s.writes)-len(old))
	for i := len(old); i < len(s.writes); i++ {
		fresh = append(fresh, i)
	}
	less := func(i, j int) int { return bytes.Compare(s.writes[i].key, s.writes[j].key) }
	slices.SortFunc(fresh, less)
	s.sorted = make([]int, 0, len(s.writes))
	for len(old) > 0 && len(fresh) > 0 {
		if less(old[0], fresh[0]) < 0 {
			s.sorted, old = append(s.sorted, old[0]), old[1:]
		} else {
			s.sorted, fresh = append(s.sorted, fresh[0]), fresh[1:]
		}
	}
	s.sorted = append(append(s.sorted, old...), fresh...)
}

// overlaidIterator merges the writes of a transaction with what is stored. Of a
// key that has both it shows the write.
type overlaidIterator struct {
	set        *writeSet
	pending    []int // the write it is at, or comes to next, and those after it
	stored     VersionIterator
	storedOK   bool // stored is at the version it is at, or comes to next
	descending bool

	// What the current key comes from: one of them, or both.
	onWrite, onStored bool
}

func newOverlaidIterator(set *writeSet, pending []int, stored VersionIterator, descending bool) *overlaidIterator {
	it := &overlaidIterator{set: set, pending: pending, stored: stored, descending: descending}
	it.onStored = true // so that the first Next moves stored to its first version
	return it
}

// Next implements VersionIterator.
func (it *overlaidIterator) Next() bool {
	if it.onWrite {
		it.pending = it.pending[1:]
	}
	if it.onStored {
		it.storedOK = it.stored.Next()
	}
	it.onWrite, it.onStored = len(it.pending) > 0, it.storedOK
	if it.onWrite && it.onStored {
		order := bytes.Compare(it.write().key, it.stored.Key())
		if it.descending {
			order = -order
		}
		it.onWrite, it.onStored = order <= 0, order >= 0
	}
	return it.onWrite || it.onStored
}

func (it *overlaidIterator) write() *write { return &it.set.writes[it.pending[0]] }

// Key implements VersionIterator.
func (it *overlaidIterator) Key() []byte {
	if it.onWrite {
		return it.write().key
	}
	return it.stored.Key()
}

// Revision implements VersionIterator.
func (it *overlaidIterator) Revision() Revision {
	if it.onWrite {
		return it.set.revision
	}
	return it.stored.Revision()
}

// Value implements VersionIterator.
func (it *overlaidIterator) Value() ([]byte, error) {
	if it.onWrite {
		return it.write().stored, nil
	}
	return it.stored.Value()
}

// Close implements VersionIterator.
func (it *overlaidIterator) Close() error { return it.stored.Close() }
