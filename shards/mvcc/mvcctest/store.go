package mvcctest

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/flotillakv/flotilla/shards/mvcc"
)

// Store is an mvcc.Writer in memory. What the contract forbids it makes fail:
// a version stored twice, a deletion of what is not there, a write under an open
// iterator, and use of a slice after the moment until which it was valid, whose
// bytes are overwritten.
type Store struct {
	keys     []string // sorted; each has at least one version
	versions map[string][]StoredVersion
	events   []StoredEvent // sorted by revision and sub
	open     int           // iterators
	lent     []byte        // what Version returned last

	calls  int
	failAt int // fails this call; 0 is none
}

// StoredVersion is one version of a key as it is stored.
type StoredVersion struct {
	Key      string
	Revision mvcc.Revision
	Value    string
}

// StoredEvent is one event of the history as it is stored.
type StoredEvent struct {
	Revision mvcc.Revision
	Sub      uint32
	Key      string
}

// ErrInjected is the error of a call that FailAt chose.
var ErrInjected = errors.New("injected failure of storage")

// NewStore returns an empty store.
func NewStore() *Store { return &Store{versions: map[string][]StoredVersion{}} }

// FailAt makes the n-th call from now fail, from 1; 0 is none. Iterators fail in
// Close, having ended early.
func (s *Store) FailAt(n int) { s.calls, s.failAt = 0, n }

// Failed says whether a call has failed because of FailAt.
func (s *Store) Failed() bool { return s.failAt > 0 && s.calls >= s.failAt }

// Contents is all that is stored: versions by key and then revision, events in
// order.
func (s *Store) Contents() ([]StoredVersion, []StoredEvent) {
	var versions []StoredVersion
	for _, key := range s.keys {
		versions = append(versions, s.versions[key]...)
	}
	return versions, slices.Clone(s.events)
}

// Version implements mvcc.Reader.
func (s *Store) Version(key []byte, at mvcc.Revision) (mvcc.Revision, []byte, bool, error) {
	if err := s.call(); err != nil {
		return 0, nil, false, err
	}
	v, ok := newest(s.versions[string(key)], at)
	if !ok {
		return 0, nil, false, nil
	}
	return v.Revision, lend(&s.lent, v.Value), true, nil
}

// Head implements mvcc.Writer.
func (s *Store) Head(key []byte) (mvcc.Head, error) {
	if err := s.call(); err != nil {
		return mvcc.Head{}, err
	}
	v, ok := newest(s.versions[string(key)], math.MaxUint64)
	if !ok {
		return mvcc.Head{}, nil
	}
	return mvcc.HeadOf(v.Revision, []byte(v.Value))
}

// Versions implements mvcc.Reader.
func (s *Store) Versions(start, end []byte, at mvcc.Revision, descending bool) mvcc.VersionIterator {
	low, _ := slices.BinarySearch(s.keys, string(start))
	high := len(s.keys)
	if len(end) > 0 {
		high, _ = slices.BinarySearch(s.keys, string(end))
	}
	s.open++
	it := &versionIterator{store: s, at: at, keys: s.keys[low:max(low, high)], descending: descending}
	it.err = s.call()
	return it
}

// Events implements mvcc.Reader.
func (s *Store) Events(from mvcc.Revision) mvcc.EventIterator {
	i, _ := s.findEvent(from, 0)
	s.open++
	return &eventIterator{store: s, events: s.events[i:], err: s.call()}
}

// PutVersion implements mvcc.Writer.
func (s *Store) PutVersion(key []byte, rev mvcc.Revision, value []byte) error {
	if err := s.write(); err != nil {
		return err
	}
	k := string(key)
	versions := s.versions[k]
	if len(versions) == 0 {
		i, _ := slices.BinarySearch(s.keys, k)
		s.keys = slices.Insert(s.keys, i, k)
	}
	i, found := findVersion(versions, rev)
	if found {
		return fmt.Errorf("version %q@%d is stored twice", k, rev)
	}
	s.versions[k] = slices.Insert(versions, i, StoredVersion{Key: k, Revision: rev, Value: string(value)})
	return nil
}

// DeleteVersion implements mvcc.Writer.
func (s *Store) DeleteVersion(key []byte, rev mvcc.Revision) error {
	if err := s.write(); err != nil {
		return err
	}
	k := string(key)
	i, found := findVersion(s.versions[k], rev)
	if !found {
		return fmt.Errorf("version %q@%d is removed and was not there", k, rev)
	}
	s.versions[k] = slices.Delete(s.versions[k], i, i+1)
	if len(s.versions[k]) == 0 {
		delete(s.versions, k)
		place, _ := slices.BinarySearch(s.keys, k)
		s.keys = slices.Delete(s.keys, place, place+1)
	}
	return nil
}

// PutEvent implements mvcc.Writer.
func (s *Store) PutEvent(rev mvcc.Revision, sub uint32, key []byte) error {
	if err := s.write(); err != nil {
		return err
	}
	i, found := s.findEvent(rev, sub)
	if found {
		return fmt.Errorf("event %d of revision %d is stored twice", sub, rev)
	}
	s.events = slices.Insert(s.events, i, StoredEvent{Revision: rev, Sub: sub, Key: string(key)})
	return nil
}

// DeleteEvent implements mvcc.Writer.
func (s *Store) DeleteEvent(rev mvcc.Revision, sub uint32) error {
	if err := s.write(); err != nil {
		return err
	}
	i, found := s.findEvent(rev, sub)
	if !found {
		return fmt.Errorf("event %d of revision %d is removed and was not there", sub, rev)
	}
	s.events = slices.Delete(s.events, i, i+1)
	return nil
}

// call counts a call, and ends the validity of what the last one lent.
func (s *Store) call() error {
	spoil(s.lent)
	if s.calls++; s.calls == s.failAt {
		return ErrInjected
	}
	return nil
}

func (s *Store) write() error {
	if s.open > 0 {
		return errors.New("a write while an iterator is open")
	}
	return s.call()
}

// lend copies what is stored into a buffer that the next call spoils.
func lend(buffer *[]byte, stored string) []byte {
	spoil(*buffer)
	*buffer = append((*buffer)[:0], stored...)
	return *buffer
}

func spoil(b []byte) {
	for i := range b {
		b[i] = 0xee
	}
}

func newest(versions []StoredVersion, at mvcc.Revision) (StoredVersion, bool) {
	i, found := findVersion(versions, at)
	if found {
		return versions[i], true
	}
	if i == 0 {
		return StoredVersion{}, false
	}
	return versions[i-1], true
}

func findVersion(versions []StoredVersion, rev mvcc.Revision) (int, bool) {
	return slices.BinarySearchFunc(versions, rev, func(v StoredVersion, rev mvcc.Revision) int {
		return cmp.Compare(v.Revision, rev)
	})
}

func (s *Store) findEvent(rev mvcc.Revision, sub uint32) (int, bool) {
	return slices.BinarySearchFunc(s.events, StoredEvent{Revision: rev, Sub: sub}, func(a, b StoredEvent) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.Sub, b.Sub))
	})
}
