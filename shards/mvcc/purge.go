package mvcc

import "fmt"

// PurgeResult says what one call of Purge did.
type PurgeResult struct {
	// Versions is the number of versions removed, tombstones included.
	Versions int
	// Events is the number of history events visited.
	Events int
	// Done says that nothing is left to reclaim until the next compaction.
	Done bool
}

// Purge reclaims a part of what compaction dropped, visiting the history in
// order from where it came to: at most eventsMax events, at least one. It is
// called until it is done. Reads and history at and above the compact revision
// C are the same before, during and after.
//
// Purged is what no such read can meet:
//
//   - a version of a key that has a later one at or below C;
//   - a tombstone below C;
//   - an event below C.
//
// A version that is neither stays for as long as it is its key's newest at or
// below C, which may be for ever. The events and tombstones of C itself stay
// until the next compaction, so that the changes of C can still be watched.
//
// P1: the events below PurgedRevision are gone, with the versions that they
// superseded; when purging is done, so are the versions that those of C did.
//
// The events of C are the only ones that are not removed when they are visited.
// So they are visited in one call, which may pass eventsMax, but costs no more
// than the transaction that wrote them.
func Purge(w Writer, st *State, eventsMax int) (PurgeResult, error) {
	if st.PurgedRevision == st.CompactRevision {
		return PurgeResult{Done: true}, nil
	}
	p := purger{w: w, compact: st.CompactRevision}
	events, done, err := p.gather(st.PurgedRevision, max(eventsMax, 1))
	if err != nil {
		return PurgeResult{}, err
	}
	for _, e := range events {
		if err := p.purge(e); err != nil {
			return PurgeResult{}, err
		}
	}
	switch {
	case done:
		st.PurgedRevision = st.CompactRevision
	case len(events) > 0:
		// More events of the last revision may be left: the next call begins
		// with it.
		st.PurgedRevision = events[len(events)-1].revision
	}
	return PurgeResult{Versions: p.versions, Events: len(events), Done: done}, nil
}

type purger struct {
	w        Writer
	compact  Revision
	arena    arena
	versions int
}

type event struct {
	revision Revision
	sub      uint32
	key      []byte
}

// gather lists the events to visit: the iterator must be closed before they
// are removed. done says that they are the last.
func (p *purger) gather(from Revision, eventsMax int) (events []event, done bool, err error) {
	it := p.w.Events(from)
	done = true
	for it.Next() && it.Revision() <= p.compact {
		if len(events) >= eventsMax && it.Revision() < p.compact {
			done = false
			break
		}
		events = append(events, event{revision: it.Revision(), sub: it.Sub(), key: p.arena.copy(it.Key())})
	}
	return events, done, it.Close()
}

// purge removes what an event shows to be out of reach. Events come in order,
// so of the versions before this one there is at most one left.
func (p *purger) purge(e event) error {
	previous, _, ok, err := p.w.Version(e.key, e.revision-1)
	if err != nil {
		return err
	}
	if ok {
		if err := p.removeVersion(e.key, previous); err != nil {
			return err
		}
	}
	if e.revision == p.compact {
		return nil
	}
	if err := p.removeTombstone(e); err != nil {
		return err
	}
	return p.w.DeleteEvent(e.revision, e.sub)
}

// removeTombstone removes the event's version if it is a tombstone.
func (p *purger) removeTombstone(e event) error {
	revision, stored, ok, err := p.w.Version(e.key, e.revision)
	if err != nil {
		return err
	}
	if !ok || revision != e.revision {
		return fmt.Errorf("%w: event %d of revision %d is of none", ErrCorruptVersion, e.sub, e.revision)
	}
	v, err := DecodeVersion(stored)
	if err != nil || !v.Tombstone {
		return err
	}
	return p.removeVersion(e.key, e.revision)
}

func (p *purger) removeVersion(key []byte, revision Revision) error {
	p.versions++
	return p.w.DeleteVersion(key, revision)
}
