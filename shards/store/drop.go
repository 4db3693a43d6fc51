package store

import (
	"bytes"
	"fmt"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/tenancy"
)

// DropNamespace removes all rows of a namespace but those of TableState. It takes
// no time in proportion to them: a range tombstone hides them, and Pebble's
// compactions remove them with the tables that they are in. Nothing may be written
// to the namespace's key space afterwards: the heads of its keys are remembered
// until others push them out.
func (b *Batch) DropNamespace(ns tenancy.NamespaceID) error {
	if b.err != nil {
		return b.err
	}
	start, end := namespaceBounds(b.shard.number, ns)
	if err := b.room(len(start) + len(end)); err != nil {
		return err
	}
	if err := b.writes.DeleteRange(start, end, nil); err != nil {
		return fmt.Errorf("drop namespace %d: %w", ns, err)
	}
	b.dropped = append(b.dropped, droppedNamespace(start[:namespaceBytes]))
	for i := range b.overlay.entries {
		if e := &b.overlay.entries[i]; b.isDropped(e.prefix) {
			e.value, e.deleted = nil, true
		}
	}
	return nil
}

// namespaceBounds are the bounds of what DropNamespace removes.
func namespaceBounds(shard uint32, ns tenancy.NamespaceID) (start, end []byte) {
	start = append(appendHeader(nil, shard, ns, machine.TableState+1), sentinel)
	return start, append(appendHeader(nil, shard, ns, tableMax+1), sentinel)
}

// namespaceBytes is how long the beginning of a key is that all of a namespace
// have.
const namespaceBytes = headerBytes - 1

// droppedNamespace is that beginning.
type droppedNamespace [namespaceBytes]byte

// isDropped tells whether a row was removed with its namespace by the batch, or
// was written after that.
func (b *Batch) isDropped(prefix []byte) bool {
	return len(b.dropped) > 0 && isDropped(b.dropped, prefix)
}

func isDropped(dropped []droppedNamespace, prefix []byte) bool {
	if machine.Table(prefix[namespaceBytes]) == machine.TableState {
		return false
	}
	for i := range dropped {
		if bytes.Equal(dropped[i][:], prefix[:namespaceBytes]) {
			return true
		}
	}
	return false
}
