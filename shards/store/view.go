package store

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// A View reads one consistent state of a shard: the one after the newest batch
// that was committed before NewView, whatever is written, restored or
// destroyed later. It keeps that state in memory and on disk, so it is to be
// closed soon. Not safe for concurrent use.
//
// Byte slices it returns are valid until the next call.
type View struct {
	shard *Shard
	lookups
	idle idleScans
	key  []byte // buffer
	err  error  // why the view cannot be used
}

var _ machine.Rows = (*View)(nil)

// NewView opens a view, which must be closed. Thousands of reads can share
// one; it costs about as much as two of them. If the store is closed, all the
// view's reads return ErrClosed.
func (sh *Shard) NewView() *View {
	v := &View{shard: sh}
	if v.err = sh.store.acquire(); v.err != nil {
		return v
	}
	if v.lookups, v.err = sh.newLookups(); v.err != nil {
		sh.store.release()
	}
	return v
}

// Close ends the view, whose iterators must be closed. Safe to call twice.
func (v *View) Close() error {
	if v.all == nil {
		return nil
	}
	err := errors.Join(v.idle.close(), v.close())
	v.err = ErrClosed
	v.shard.store.release()
	return err
}

// Namespace reads the key space of one namespace.
func (v *View) Namespace(ns tenancy.NamespaceID) mvcc.Reader { return &namespaceView{v, ns} }

// Row returns a plain row; ok is false when there is none.
func (v *View) Row(table Table, ns tenancy.NamespaceID, key []byte) (value []byte, ok bool, err error) {
	if err := errors.Join(v.err, checkPlain(table)); err != nil {
		return nil, false, err
	}
	v.key = appendRow(v.key[:0], v.shard.number, ns, table, key)
	it, err := v.iterator(v.shard, v.key, v.shard.store.recents.hash(v.key))
	if err != nil {
		return nil, false, err
	}
	return findRow(it, v.key)
}

// Rows visits the plain rows with keys in [start, end) in byte order. An empty
// end is no upper bound.
func (v *View) Rows(table Table, ns tenancy.NamespaceID, start, end []byte) RowIterator {
	return newRowIterator(v, v.shard.number, ns, table, start, end)
}

func (v *View) openScan(lower, upper []byte) (*pebble.Iterator, error) {
	if v.err != nil {
		return nil, v.err
	}
	if it := v.idle.take(); it != nil {
		it.SetBounds(lower, upper)
		return it, nil
	}
	return v.all.Clone(pebble.CloneOptions{IterOptions: &pebble.IterOptions{LowerBound: lower, UpperBound: upper}})
}

func (v *View) closeScan(it *pebble.Iterator) error { return v.idle.put(it) }

// namespaceView implements mvcc.Reader.
type namespaceView struct {
	v  *View
	ns tenancy.NamespaceID
}

// Version implements mvcc.Reader.
func (n *namespaceView) Version(key []byte, at mvcc.Revision) (mvcc.Revision, []byte, bool, error) {
	v := n.v
	if v.err != nil {
		return 0, nil, false, v.err
	}
	v.key = appendVersion(v.key[:0], v.shard.number, n.ns, key, at)
	prefix := v.key[:len(v.key)-versionSuffixBytes]
	it, err := v.iterator(v.shard, prefix, v.shard.store.recents.hash(prefix))
	if err != nil {
		return 0, nil, false, err
	}
	rev, ok, err := findVersion(it, v.key)
	if !ok {
		return 0, nil, false, err
	}
	value, err := it.ValueAndErr()
	return rev, value, err == nil, err
}

// Versions implements mvcc.Reader.
func (n *namespaceView) Versions(start, end []byte, at mvcc.Revision, descending bool) mvcc.VersionIterator {
	return newVersionIterator(n.v, n.v.shard.number, n.ns, start, end, at, descending)
}

// Events implements mvcc.Reader.
func (n *namespaceView) Events(from mvcc.Revision) mvcc.EventIterator {
	return newEventIterator(n.v, n.v.shard.number, n.ns, from)
}
