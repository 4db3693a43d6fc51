package store

import (
	"errors"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// eventIterator implements mvcc.EventIterator.
type eventIterator struct {
	scan
	rev mvcc.Revision
	sub uint32
	key []byte
}

func newEventIterator(from scanner, shard uint32, ns tenancy.NamespaceID, rev mvcc.Revision) *eventIterator {
	lower := appendEvent(nil, shard, ns, rev, 0)
	upper := appendTableEnd(nil, shard, ns, machine.TableEvents)
	return &eventIterator{scan: boundedScan(from, lower, upper)}
}

// Next implements mvcc.EventIterator.
func (e *eventIterator) Next() bool {
	if !e.next() {
		return false
	}
	var ok bool
	if e.rev, e.sub, ok = decodeEvent(e.it.Key()); !ok {
		return e.fail(errNotAnEvent)
	}
	var err error
	if e.key, err = e.value(); err != nil {
		return e.fail(err)
	}
	return true
}

var errNotAnEvent = errors.New("a row among events is not one")

// Revision implements mvcc.EventIterator.
func (e *eventIterator) Revision() mvcc.Revision { return e.rev }

// Sub implements mvcc.EventIterator.
func (e *eventIterator) Sub() uint32 { return e.sub }

// Key implements mvcc.EventIterator.
func (e *eventIterator) Key() []byte { return e.key }
