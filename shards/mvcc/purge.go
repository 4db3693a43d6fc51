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
	done, err := p.gather(st.PurgedRevision, max(eventsMax, 1))
	if err != nil {
		return PurgeResult{}, err
	}
	for _, e := range p.events {
		if err := p.judge(e); err != nil {
			return PurgeResult{}, err
		}
	}
	if err := p.remove(); err != nil {
		return PurgeResult{}, err
	}
	switch {
	case done:
		st.PurgedRevision = st.CompactRevision
	case len(p.events) > 0:
		// More events of the last revision may be left: the next call begins
		// with it.
		st.PurgedRevision = p.events[len(p.events)-1].revision
	}
	return PurgeResult{Versions: len(p.dropped), Events: len(p.events), Done: done}, nil
}

// purger reads all that it needs before it removes anything: reading what a
// batch has written before costs more than reading what is committed.
type purger struct {
	w       Writer
	compact Revision

	arena   arena
	events  []event          // to visit
	dropped []droppedVersion // to remove
}

type event struct {
	revision Revision
	sub      uint32
	key      []byte
}

type droppedVersion struct {
	key      []byte
	revision Revision
}

// gather lists the events to visit. done says that they are the last.
func (p *purger) gather(from Revision, eventsMax int) (done bool, err error) {
	it := p.w.Events(from)
	done = true
	for it.Next() && it.Revision() <= p.compact {
		if len(p.events) >= eventsMax && it.Revision() < p.compact {
			done = false
			break
		}
		p.events = append(p.events, event{revision: it.Revision(), sub: it.Sub(), key: p.arena.copy(it.Key())})
	}
	return done, it.Close()
}

// judge drops what an event shows to be out of reach: the version that it
// superseded, and its own if that is a tombstone. A tombstone that it superseded
// is left to that one's own event, so that nothing is dropped twice.
func (p *purger) judge(e event) error {
	own, tombstone, err := p.versionAt(e.key, e.revision)
	if err != nil {
		return err
	}
	if own != e.revision {
		return fmt.Errorf("%w: there is none for event %d of revision %d", ErrCorruptVersion, e.sub, e.revision)
	}
	if tombstone && e.revision < p.compact {
		p.dropped = append(p.dropped, droppedVersion{key: e.key, revision: own})
	}
	superseded, tombstone, err := p.versionAt(e.key, e.revision-1)
	if err != nil {
		return err
	}
	if superseded != NoRevision && !tombstone {
		p.dropped = append(p.dropped, droppedVersion{key: e.key, revision: superseded})
	}
	return nil
}

// versionAt finds the newest version of key whose revision is at most at.
func (p *purger) versionAt(key []byte, at Revision) (revision Revision, tombstone bool, err error) {
	revision, stored, ok, err := p.w.Version(key, at)
	if err != nil || !ok {
		return NoRevision, false, err
	}
	v, err := DecodeVersion(stored)
	return revision, v.Tombstone, err
}

func (p *purger) remove() error {
	for _, v := range p.dropped {
		if err := p.w.DeleteVersion(v.key, v.revision); err != nil {
			return err
		}
	}
	for _, e := range p.events {
		if e.revision == p.compact {
			break // and all after it
		}
		if err := p.w.DeleteEvent(e.revision, e.sub); err != nil {
			return err
		}
	}
	return nil
}
