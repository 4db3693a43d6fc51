package mvcctest

import "github.com/flotillakv/flotilla/shards/mvcc"

// versionIterator visits the keys that were there when it was opened: nothing
// can be written before it is closed.
type versionIterator struct {
	store      *Store
	at         mvcc.Revision
	keys       []string // not yet visited
	descending bool
	current    StoredVersion
	key, value []byte // lent
	err        error
	closed     bool
}

// Next implements mvcc.VersionIterator.
func (it *versionIterator) Next() bool {
	spoil(it.key)
	spoil(it.value)
	for it.err == nil && len(it.keys) > 0 {
		key := it.keys[0]
		if it.descending {
			key = it.keys[len(it.keys)-1]
			it.keys = it.keys[:len(it.keys)-1]
		} else {
			it.keys = it.keys[1:]
		}
		v, ok := newest(it.store.versions[key], it.at)
		if !ok {
			continue
		}
		it.current = v
		it.err = it.store.call()
		return it.err == nil
	}
	return false
}

// Key implements mvcc.VersionIterator.
func (it *versionIterator) Key() []byte { return lend(&it.key, it.current.Key) }

// Revision implements mvcc.VersionIterator.
func (it *versionIterator) Revision() mvcc.Revision { return it.current.Revision }

// Value implements mvcc.VersionIterator.
func (it *versionIterator) Value() ([]byte, error) {
	if err := it.store.call(); err != nil {
		return nil, err
	}
	return lend(&it.value, it.current.Value), nil
}

// Close implements mvcc.VersionIterator.
func (it *versionIterator) Close() error {
	spoil(it.key)
	spoil(it.value)
	it.store.close(&it.closed)
	return it.err
}

type eventIterator struct {
	store   *Store
	events  []StoredEvent // not yet visited
	current StoredEvent
	key     []byte // lent
	err     error
	closed  bool
}

// Next implements mvcc.EventIterator.
func (it *eventIterator) Next() bool {
	spoil(it.key)
	if it.err != nil || len(it.events) == 0 {
		return false
	}
	if it.err = it.store.call(); it.err != nil {
		return false
	}
	it.current, it.events = it.events[0], it.events[1:]
	return true
}

// Revision implements mvcc.EventIterator.
func (it *eventIterator) Revision() mvcc.Revision { return it.current.Revision }

// Sub implements mvcc.EventIterator.
func (it *eventIterator) Sub() uint32 { return it.current.Sub }

// Key implements mvcc.EventIterator.
func (it *eventIterator) Key() []byte { return lend(&it.key, it.current.Key) }

// Close implements mvcc.EventIterator.
func (it *eventIterator) Close() error {
	spoil(it.key)
	it.store.close(&it.closed)
	return it.err
}

// close counts an iterator as closed, once.
func (s *Store) close(closed *bool) {
	if !*closed {
		*closed = true
		s.open--
	}
}
