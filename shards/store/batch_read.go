package store

import (
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

func (b *Batch) hash(prefix []byte) uint64 { return b.shard.store.recents.hash(prefix) }

// committedState is for lookups of what the batch did not write.
func (b *Batch) committedState(prefix []byte, hash uint64) (*pebble.Iterator, error) {
	if b.isDropped(prefix) {
		return b.mergedState()
	}
	if b.committed.all == nil {
		var err error
		if b.committed, err = b.shard.newLookups(); err != nil {
			return nil, err
		}
	}
	return b.committed.iterator(b.shard, prefix, hash)
}

// index makes the batch one that Pebble can iterate over.
func (b *Batch) index() error {
	if b.indexed {
		return nil
	}
	indexed := b.shard.store.db.NewIndexedBatch()
	if err := indexed.Apply(b.writes, nil); err != nil {
		return fmt.Errorf("index a batch: %w", err)
	}
	b.writes, b.plain, b.indexed = indexed, b.writes, true
	return nil
}

// mergedState is for lookups that the overlay cannot tell.
func (b *Batch) mergedState() (*pebble.Iterator, error) {
	if err := b.index(); err != nil {
		return nil, err
	}
	options := b.shard.iterOptions()
	if b.merged != nil {
		b.merged.SetOptions(&options) // to see what was written since
		return b.merged, nil
	}
	var err error
	b.merged, err = b.writes.NewIter(&options)
	return b.merged, err
}

func (b *Batch) openScan(lower, upper []byte) (*pebble.Iterator, error) {
	if b.err != nil {
		return nil, b.err
	}
	options := pebble.IterOptions{LowerBound: lower, UpperBound: upper}
	if b.writes.Empty() { // it need not be indexed for that
		return b.shard.store.db.NewIter(&options)
	}
	if err := b.index(); err != nil {
		return nil, err
	}
	if it := b.idle.take(); it != nil {
		it.SetOptions(&options) // also to see what was written since
		return it, nil
	}
	return b.writes.NewIter(&options)
}

func (b *Batch) closeScan(it *pebble.Iterator) error {
	if b.indexed {
		return b.idle.put(it)
	}
	return it.Close()
}

// namespaceBatch implements mvcc.Writer.
type namespaceBatch struct {
	b  *Batch
	ns tenancy.NamespaceID
}

var _ mvcc.Writer = (*namespaceBatch)(nil)

// Head implements mvcc.Writer.
func (n *namespaceBatch) Head(key []byte) (mvcc.Head, error) {
	b := n.b
	if b.err != nil {
		return mvcc.Head{}, b.err
	}
	heads := b.shard.store.heads
	b.key = appendRow(b.key[:0], b.shard.number, n.ns, machine.TableVersions, key)
	known := heads.key(b.key, b.hash(b.key))
	if head, ok := heads.find(known); ok {
		return head, nil
	}
	rev, stored, ok, err := n.Version(key, math.MaxUint64)
	if err != nil || !ok {
		return mvcc.Head{}, err
	}
	head, err := mvcc.HeadOf(rev, stored)
	if err == nil {
		heads.keep(known, head)
	}
	return head, err
}

// Version implements mvcc.Reader.
func (n *namespaceBatch) Version(key []byte, at mvcc.Revision) (mvcc.Revision, []byte, bool, error) {
	b := n.b
	if b.err != nil {
		return 0, nil, false, b.err
	}
	b.key = appendVersion(b.key[:0], b.shard.number, n.ns, key, at)
	prefix := b.key[:len(b.key)-versionSuffixBytes]
	hash := b.hash(prefix)
	e := b.overlay.find(hash, prefix)
	var it *pebble.Iterator
	var err error
	if e != nil && (e.deleted || at < e.rev) {
		e = nil
		it, err = b.mergedState()
	} else {
		it, err = b.committedState(prefix, hash)
	}
	if err != nil {
		return 0, nil, false, err
	}
	rev, ok, err := findVersion(it, b.key)
	switch {
	case err != nil:
		return 0, nil, false, err
	case e != nil && (!ok || rev < e.rev):
		return e.rev, e.value, true, nil
	case !ok:
		return 0, nil, false, nil
	}
	value, err := it.ValueAndErr()
	return rev, value, err == nil, err
}

// Versions implements mvcc.Reader.
func (n *namespaceBatch) Versions(start, end []byte, at mvcc.Revision, descending bool) mvcc.VersionIterator {
	return newVersionIterator(n.b, n.b.shard.number, n.ns, start, end, at, descending)
}

// Events implements mvcc.Reader.
func (n *namespaceBatch) Events(from mvcc.Revision) mvcc.EventIterator {
	return newEventIterator(n.b, n.b.shard.number, n.ns, from)
}

// PutVersion implements mvcc.Writer. Its error may be a *TooLargeError.
func (n *namespaceBatch) PutVersion(key []byte, rev mvcc.Revision, value []byte) error {
	b := n.b
	op, err := b.set(versionBytes(key), len(value))
	if err != nil {
		return err
	}
	k := appendVersion(op.Key[:0], b.shard.number, n.ns, key, rev)
	copy(op.Value, value)
	prefix := k[:len(k)-versionSuffixBytes]
	hash := b.hash(prefix)
	if b.overlay.putVersion(hash, prefix, rev, op.Value) {
		b.noteHead(hash, prefix, rev, op.Value)
	}
	return op.Finish()
}

// DeleteVersion implements mvcc.Writer.
func (n *namespaceBatch) DeleteVersion(key []byte, rev mvcc.Revision) error {
	b := n.b
	op, err := b.delete(versionBytes(key))
	if err != nil {
		return err
	}
	k := appendVersion(op.Key[:0], b.shard.number, n.ns, key, rev)
	prefix := k[:len(k)-versionSuffixBytes]
	hash := b.hash(prefix)
	b.overlay.deleteVersion(hash, prefix)
	heads := b.shard.store.heads
	if known := heads.key(prefix, hash); heads.isAt(known, rev) {
		heads.forget(known)
	}
	return op.Finish()
}

// noteHead remembers the newest version of a key as the batch wrote it.
func (b *Batch) noteHead(hash uint64, prefix []byte, rev mvcc.Revision, stored []byte) {
	heads := b.shard.store.heads
	head, err := mvcc.HeadOf(rev, stored)
	if err != nil {
		head = mvcc.Head{} // whoever reads it is told
	}
	heads.keep(heads.key(prefix, hash), head)
}

// forgetHeads takes what the batch wrote out of the heads again.
func (b *Batch) forgetHeads() {
	heads := b.shard.store.heads
	for i := range b.overlay.entries {
		e := &b.overlay.entries[i]
		heads.forget(heads.key(e.prefix, e.hash))
	}
}

// PutEvent implements mvcc.Writer.
func (n *namespaceBatch) PutEvent(rev mvcc.Revision, sub uint32, key []byte) error {
	op, err := n.b.set(eventBytes, len(key))
	if err != nil {
		return err
	}
	appendEvent(op.Key[:0], n.b.shard.number, n.ns, rev, sub)
	copy(op.Value, key)
	return op.Finish()
}

// DeleteEvent implements mvcc.Writer.
func (n *namespaceBatch) DeleteEvent(rev mvcc.Revision, sub uint32) error {
	op, err := n.b.delete(eventBytes)
	if err != nil {
		return err
	}
	appendEvent(op.Key[:0], n.b.shard.number, n.ns, rev, sub)
	return op.Finish()
}
