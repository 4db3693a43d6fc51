package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// RowBytesMax bounds the key and value of a row together, so that a snapshot's
// frames are bounded; BatchBytesMax bounds a batch.
const (
	RowBytesMax   = 32 << 20
	BatchBytesMax = 1 << 30
)

const batchBytesKept = 4 << 20 // of a batch's memory, for the next one

// A Batch collects changes of a shard that Commit makes visible at once. Its
// reads see its own writes over what was committed when it first read. One
// batch of a shard is open at a time (S4); not safe for concurrent use.
//
// Byte slices it returns are valid until the next call.
//
// Applying a command is a lookup and two writes, mostly of keys that the batch
// has not touched before. So writes go to an unindexed Pebble batch, which is
// an append, and the overlay remembers what they were. A lookup asks one
// long-lived iterator over the committed state and the overlay. Only when a
// range is read, or a version that the overlay cannot tell, is the batch
// indexed: from then on Pebble merges it with the committed state, and each
// write costs a skip-list insertion more. DESIGN.md has the figures.
type Batch struct {
	shard *Shard
	*batchMemory

	// writes is the Pebble batch; indexed tells its kind. plain is what it was
	// before it was indexed: the overlay shares its bytes.
	writes, plain *pebble.Batch
	indexed       bool

	committed lookups          // of the committed state; opened when it is needed
	merged    *pebble.Iterator // over the committed state and the indexed batch, for lookups
	idle      idleScans        // likewise, for scans

	dropped []droppedNamespace // those that the batch drops

	visible bool  // it was committed
	err     error // why the batch cannot be used
}

// batchMemory is what a closed batch leaves to the next one: an overlay grows
// to thousands of entries, several times a second.
type batchMemory struct {
	overlay    overlay
	namespaces map[tenancy.NamespaceID]*namespaceBatch
	key        []byte // buffer
}

var _ machine.Batch = (*Batch)(nil)

// NewBatch begins a batch, which must be closed. If the store is closed, all
// that uses the batch returns ErrClosed.
func (sh *Shard) NewBatch() *Batch {
	b := &Batch{shard: sh}
	if b.err = sh.store.acquire(); b.err != nil {
		return b
	}
	if b.err = sh.valid(); b.err != nil {
		sh.store.release()
		return b
	}
	b.batchMemory, _ = sh.store.batches.Get().(*batchMemory)
	if b.batchMemory == nil {
		b.batchMemory = &batchMemory{overlay: newOverlay(), namespaces: make(map[tenancy.NamespaceID]*namespaceBatch)}
	}
	b.writes = sh.store.db.NewBatch(pebble.WithMaxRetainedSizeBytes(batchBytesKept))
	return b
}

// Commit makes the batch's changes visible, all at once, and durable with the
// next flush (S1, S2). The batch can then only be closed. It waits while
// flushing cannot keep up.
func (b *Batch) Commit() error {
	if b.err != nil {
		return b.err
	}
	b.err = errBatchDone
	if b.writes.Empty() {
		return nil
	}
	s := b.shard.store
	bytes, err := s.recents.commit(b.overlay.entries, b.dropped, b.memTableBytes(), func() error {
		return b.writes.Commit(pebble.NoSync)
	})
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	b.visible = true
	s.flusher.commits.Add(1)
	if uint64(bytes) >= s.cfg.MemTableBytes/4*3 {
		return s.flusher.begin() // before Pebble does, which would not drop recents
	}
	return nil
}

// memTableBytes estimates what the batch takes of a memtable.
func (b *Batch) memTableBytes() int {
	const nodeBytes = 48 // of a skip list
	return b.writes.Len() + int(b.writes.Count())*nodeBytes
}

var errBatchDone = errors.New("the batch is committed or closed")

// Close gives up what was not committed and frees the batch, which must not be
// used again; its iterators must be closed. Safe to call twice in a row.
func (b *Batch) Close() error {
	if b.writes == nil {
		return nil
	}
	if !b.visible {
		b.forgetHeads() // while the overlay's bytes are still the batch's
	}
	err := errors.Join(b.idle.close(), b.committed.close())
	if b.merged != nil {
		err = errors.Join(err, b.merged.Close())
	}
	err = errors.Join(err, b.writes.Close())
	if b.plain != nil {
		err = errors.Join(err, b.plain.Close())
	}
	s := b.shard.store
	b.overlay.reset()
	clear(b.namespaces)
	s.batches.Put(b.batchMemory)
	*b = Batch{shard: b.shard, err: errBatchDone}
	s.release()
	return err
}

// Empty tells whether nothing was written.
func (b *Batch) Empty() bool { return b.writes == nil || b.writes.Empty() }

// Len is the size of the batch in bytes.
func (b *Batch) Len() int {
	if b.writes == nil {
		return 0
	}
	return b.writes.Len()
}

// Namespace is the key space of one namespace, valid as long as the batch.
func (b *Batch) Namespace(ns tenancy.NamespaceID) mvcc.Writer {
	if b.batchMemory == nil { // all uses of it give b.err
		return &namespaceBatch{b, ns}
	}
	n := b.namespaces[ns]
	if n == nil {
		n = &namespaceBatch{b, ns}
		b.namespaces[ns] = n
	}
	return n
}

// Row returns a plain row; ok is false when there is none.
func (b *Batch) Row(table Table, ns tenancy.NamespaceID, key []byte) (value []byte, ok bool, err error) {
	if err := b.usable(table); err != nil {
		return nil, false, err
	}
	b.key = appendRow(b.key[:0], b.shard.number, ns, table, key)
	hash := b.hash(b.key)
	if e := b.overlay.find(hash, b.key); e != nil {
		return e.value, !e.deleted, nil
	}
	it, err := b.committedState(b.key, hash)
	if err != nil {
		return nil, false, err
	}
	return findRow(it, b.key)
}

// SetRow writes a plain row. Its error may be a *TooLargeError.
func (b *Batch) SetRow(table Table, ns tenancy.NamespaceID, key, value []byte) error {
	if err := b.usable(table); err != nil {
		return err
	}
	op, err := b.set(keyBytesMin+len(key), len(value))
	if err != nil {
		return err
	}
	prefix := appendRow(op.Key[:0], b.shard.number, ns, table, key)
	copy(op.Value, value)
	b.overlay.setRow(b.hash(prefix), prefix, op.Value)
	return op.Finish()
}

// DeleteRow removes a plain row; one that is absent is no error.
func (b *Batch) DeleteRow(table Table, ns tenancy.NamespaceID, key []byte) error {
	if err := b.usable(table); err != nil {
		return err
	}
	op, err := b.delete(keyBytesMin + len(key))
	if err != nil {
		return err
	}
	prefix := appendRow(op.Key[:0], b.shard.number, ns, table, key)
	b.overlay.deleteRow(b.hash(prefix), prefix)
	return op.Finish()
}

// Rows visits the plain rows with keys in [start, end) in byte order. An empty
// end is no upper bound. The iterator must be closed before the next write.
func (b *Batch) Rows(table Table, ns tenancy.NamespaceID, start, end []byte) RowIterator {
	return newRowIterator(b, b.shard.number, ns, table, start, end)
}

func (b *Batch) usable(table Table) error {
	if b.err != nil {
		return b.err
	}
	return checkPlain(table)
}

// set reserves room for a row in the batch; its key and value are then written
// in place.
func (b *Batch) set(keyBytes, valueBytes int) (*pebble.DeferredBatchOp, error) {
	if err := b.room(keyBytes + valueBytes); err != nil {
		return nil, err
	}
	return b.writes.SetDeferred(keyBytes, valueBytes), nil
}

func (b *Batch) delete(keyBytes int) (*pebble.DeferredBatchOp, error) {
	if err := b.room(keyBytes); err != nil {
		return nil, err
	}
	return b.writes.DeleteDeferred(keyBytes), nil
}

func (b *Batch) room(bytes int) error {
	switch {
	case b.err != nil:
		return b.err
	case bytes > RowBytesMax:
		return &TooLargeError{What: "row", Bytes: bytes, BytesMax: RowBytesMax}
	case b.writes.Len()+bytes > BatchBytesMax:
		return &TooLargeError{What: "batch", Bytes: b.writes.Len() + bytes, BytesMax: BatchBytesMax}
	}
	return nil
}
