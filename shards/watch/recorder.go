package watch

import (
	"bytes"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// A Recorder notes what a replica's batches change in namespaces that are
// watched, while they are applied, so that their watches need not read it back.
// Of a namespace that nobody watches it notes nothing, and while nobody watches
// anything it is not in the way at all.
//
// It is used on the apply goroutine: Begin, then the batch, then Publish once
// the batch is readable (R2).
type Recorder struct {
	machine.Batch // the batch that is being recorded; nil if none is
	hub           *Hub
	namespaces    map[tenancy.NamespaceID]*recording
	spare         []*recording
}

// NewRecorder makes a recorder for the watches of a hub.
func NewRecorder(hub *Hub) *Recorder {
	return &Recorder{hub: hub, namespaces: make(map[tenancy.NamespaceID]*recording)}
}

// Begin returns the batch to apply to instead of b. What was recorded before is
// dropped.
func (r *Recorder) Begin(b machine.Batch) machine.Batch {
	r.reset()
	if r.hub.idle() {
		return b
	}
	r.Batch = b
	return r
}

func (r *Recorder) reset() {
	for ns, one := range r.namespaces {
		delete(r.namespaces, ns)
		*one = recording{}
		r.spare = append(r.spare, one)
	}
	r.Batch = nil
}

// Namespace implements machine.Batch. Whether a namespace is recorded is decided
// when the batch first touches it, and holds for all of the batch: a watch that
// begins later must not miss a half of it.
func (r *Recorder) Namespace(ns tenancy.NamespaceID) mvcc.Writer {
	one := r.namespaces[ns]
	if one == nil {
		if n := len(r.spare); n > 0 {
			one, r.spare = r.spare[n-1], r.spare[:n-1]
		} else {
			one = &recording{}
		}
		one.watched = r.hub.watched(ns)
		r.namespaces[ns] = one
	}
	w := r.Batch.Namespace(ns)
	if !one.watched {
		return w
	}
	one.Writer = w
	return one
}

// Publish hands what was recorded to the watches of the namespaces that changed.
// It does not block, and costs little where nobody watches.
func (r *Recorder) Publish(changes []machine.Change) {
	if !r.hub.idle() {
		for _, c := range changes {
			f := r.hub.feed(c.Namespace)
			switch {
			case f == nil:
			case c.Dropped:
				f.reset() // the watches look what there is, and find out
			default:
				events, complete := r.recorded(c.Namespace)
				f.publish(c.Revision, events, complete)
			}
		}
	}
	r.reset()
}

// Restored tells that the replica's state was replaced by a newer one: what
// happened in between is known from the history alone.
func (r *Recorder) Restored() {
	r.reset()
	r.hub.reset()
}

// recorded is all that the batch changed in a namespace; it is not complete if
// somebody began to watch too late for this batch.
func (r *Recorder) recorded(ns tenancy.NamespaceID) (events []*Event, complete bool) {
	one := r.namespaces[ns]
	if one == nil || !one.watched || one.broken || len(one.unpaired) > 0 {
		return nil, false
	}
	return one.events, true
}

// recording is what a batch changes in one namespace.
type recording struct {
	mvcc.Writer
	watched bool
	events  []*Event
	bytes   int
	// unpaired are versions whose events have not come yet. The two come in the
	// same order.
	unpaired []unpaired
	// broken tells that the record is of no use: it became too large, or was
	// not understood. The watches read the history instead.
	broken bool
}

type unpaired struct {
	revision    mvcc.Revision
	key, stored []byte
}

// PutVersion implements mvcc.Writer.
func (r *recording) PutVersion(key []byte, rev mvcc.Revision, value []byte) error {
	if err := r.Writer.PutVersion(key, rev, value); err != nil || r.broken {
		return err
	}
	if r.bytes += eventOverheadBytes + len(key) + len(value); r.bytes > feedBytesMax {
		r.broken, r.events, r.unpaired = true, nil, nil
		return nil
	}
	own := make([]byte, len(key)+len(value))
	copy(own[copy(own, key):], value)
	r.unpaired = append(r.unpaired, unpaired{rev, own[:len(key):len(key)], own[len(key):]})
	return nil
}

// PutEvent implements mvcc.Writer.
func (r *recording) PutEvent(rev mvcc.Revision, sub uint32, key []byte) error {
	if err := r.Writer.PutEvent(rev, sub, key); err != nil || r.broken {
		return err
	}
	if len(r.unpaired) == 0 || r.unpaired[0].revision != rev || !bytes.Equal(r.unpaired[0].key, key) {
		r.broken = true
		return nil
	}
	v := r.unpaired[0]
	if r.unpaired = r.unpaired[1:]; len(r.unpaired) == 0 {
		r.unpaired = nil
	}
	event, err := newEvent(rev, sub, v.key, v.stored)
	if err != nil {
		r.broken = true
		return nil //nolint:nilerr // whoever reads it from the store will say so
	}
	r.events = append(r.events, event)
	return nil
}
