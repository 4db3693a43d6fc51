package watch

import (
	"fmt"

	"github.com/flotillakv/flotilla/shards/mvcc"
)

const (
	// pageEventsMax bounds the events of the history that are looked at for one
	// page, whether they concern the watch or not: about 10 ms of reading.
	pageEventsMax = 10_000
	// prevBytesMax bounds the values before the events of one revision that must
	// not be split. Those that would come after are left out.
	prevBytesMax = 16 << 20
)

// page is a piece of a namespace's history, as a watch sees it.
type page struct {
	events []*Event
	bytes  int
	// next is where the history goes on.
	next position
	// done tells that it was read to its end, or as far as was asked.
	done bool
	// split tells that the page ends within a revision.
	split bool
	// newest is the namespace's revision.
	newest mvcc.Revision
}

// revision is the one up to which all events were read, or a part of it.
func (p *page) revision() mvcc.Revision {
	if p.split {
		return p.next.revision
	}
	return p.next.revision - 1
}

// cut keeps the first n events, and leaves the others for the next page.
func (p *page) cut(n int) {
	p.next, p.done = p.events[n].position(), false
	p.split = n > 0 && p.events[n-1].Revision == p.next.revision
	if !p.split {
		p.next.sub = 0
	}
	p.events = p.events[:n]
}

// readPage reads the watch's history from a place on, up to the revision to, or
// the newest if that is 0. It returns a *mvcc.CompactedError if the history does
// not reach back so far.
func (w *watcher) readPage(from position, to mvcc.Revision) (p page, err error) {
	if err := w.feed.hub.closed(); err != nil {
		return page{}, err
	}
	w.feed.hub.metrics.pages.Inc()
	err = w.feed.hub.read(w.feed.namespace, func(r mvcc.Reader, state mvcc.State) error {
		// The events of the compact revision itself are kept.
		if from.revision < state.CompactRevision {
			return &mvcc.CompactedError{CompactRevision: state.CompactRevision}
		}
		if p.newest = state.Revision; to == 0 {
			to = p.newest
		}
		if err := w.scan(r, &p, from, to); err != nil || !w.prevKV {
			return err
		}
		n, err := loadPrevious(r, state, p.events, w.fragment)
		if n < len(p.events) {
			p.cut(n)
		}
		return err
	})
	return p, err
}

// scan fills the page, but for the versions before the events.
func (w *watcher) scan(r mvcc.Reader, p *page, from position, to mvcc.Revision) (err error) {
	it := r.Events(from.revision)
	defer func() {
		if closeErr := it.Close(); err == nil {
			err = closeErr
		}
	}()
	p.next, p.done = position{revision: to + 1}, true
	if from.revision > to {
		p.next = from
	}
	seen, last := 0, from.revision
	for it.Next() && it.Revision() <= to {
		at := position{it.Revision(), it.Sub()}
		if at.before(from) {
			continue
		}
		full := p.bytes >= answerBytesMax || seen >= pageEventsMax
		if full && at.revision != last {
			p.next, p.done = at, false
			return nil
		}
		last = at.revision
		seen++
		if !w.covers(it.Key()) {
			continue
		}
		e, err := readEvent(r, at, it.Key())
		if err != nil {
			return err
		}
		if !w.wants(e) {
			continue
		}
		if full && w.fragment {
			p.next, p.done = at, false
			p.split = len(p.events) > 0 && p.events[len(p.events)-1].Revision == at.revision
			return nil
		}
		p.events = append(p.events, e)
		p.bytes += e.size()
	}
	return nil
}

// readEvent makes an event of a place in the history and the version that is
// stored for it.
func readEvent(r mvcc.Reader, at position, key []byte) (*Event, error) {
	rev, stored, ok, err := r.Version(key, at.revision)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	if !ok || rev != at.revision {
		return nil, fmt.Errorf("%w: there is none for event %d of revision %d", mvcc.ErrCorruptVersion, at.sub, at.revision)
	}
	own := make([]byte, len(key)+len(stored))
	copy(own[copy(own, key):], stored)
	return newEvent(at.revision, at.sub, own[:len(key):len(key)], own[len(key):])
}

// previousCachedBytesMax is up to which size a version is kept with the event
// that replaced it, so that buffers which hold events hold little more than what
// was counted for them.
const previousCachedBytesMax = 1 << 10

// loadPrevious finds the versions before events, as many as go into one answer:
// it returns for how many. Those of one revision stay together unless split says
// that they need not.
func loadPrevious(r mvcc.Reader, state mvcc.State, events []*Event, split bool) (n int, err error) {
	bytes, revisionBytes := 0, 0 // revisionBytes is of the values before
	for i, e := range events {
		begins := i == 0 || events[i-1].Revision != e.Revision
		if i > 0 && (begins || split) && bytes >= answerBytesMax {
			return i, nil
		}
		if begins {
			revisionBytes = 0
		}
		if e.previous.Load() == nil {
			p, err := readPrevious(r, state, e)
			if err != nil {
				return 0, err
			}
			value := len(p.kv.GetValue())
			leftOut := !split && revisionBytes+value > prevBytesMax
			if leftOut {
				p, revisionBytes = &previous{}, prevBytesMax
			}
			if leftOut || value > previousCachedBytesMax {
				e = e.own() // and not for all that share it
				events[i] = e
			}
			e.previous.Store(p)
		}
		bytes += e.answerBytes(true)
		revisionBytes += len(e.PrevKV().GetValue())
	}
	return len(events), nil
}

func readPrevious(r mvcc.Reader, state mvcc.State, e *Event) (*previous, error) {
	if !e.hasPrevious() || e.Revision-1 < state.CompactRevision {
		return &previous{}, nil
	}
	rev, stored, ok, err := r.Version(e.Key, e.Revision-1)
	if err != nil {
		return nil, fmt.Errorf("read the version before an event: %w", err)
	}
	if !ok {
		return &previous{}, nil
	}
	version, err := mvcc.DecodeVersion(append([]byte(nil), stored...))
	if err != nil || version.Tombstone {
		return &previous{}, err
	}
	return &previous{kv: version.KeyValue(e.Key, rev)}, nil
}

// complete reads the versions before an answer's events, if it lacks them, and
// says what the newest revision is. It returns false if that failed and the
// watch has ended: then there is no answer.
func (s *Stream) complete(a *Answer) bool {
	w := a.source
	if w == nil {
		return true
	}
	a.source = nil
	if w.inHand {
		s.account.sending.startReading()
		defer s.account.sending.endReading()
		if s.postponed(w) {
			s.giveBack(w, a, 0)
			return false
		}
		n := 0
		err := w.feed.hub.read(w.feed.namespace, func(r mvcc.Reader, state mvcc.State) (err error) {
			n, err = loadPrevious(r, state, a.Events, w.fragment)
			return err
		})
		if err != nil {
			s.giveBack(w, a, 0)
			s.cancel(w, err)
			return false
		}
		s.giveBack(w, a, n)
	}
	published, _ := w.feed.newest()
	a.Latest = max(published, a.Revision)
	w.feed.hub.metrics.events.Add(float64(len(a.Events)))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.charge(a)
	return true
}

// giveBack keeps the first n events of an answer, the last one that was taken
// from the watch, and gives it the others back.
func (s *Stream) giveBack(w *watcher, a *Answer, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.charge(a) // what is left of it
	w.inHand = false
	if w.asked() {
		s.makeReady(w)
	}
	rest := a.Events[n:]
	if len(rest) == 0 {
		return
	}
	if !w.ended {
		w.giveBack(rest, a.history)
		s.makeReady(w)
	}
	w.sent = rest[0].Revision - 1
	if a.Events = a.Events[:n:n]; n > 0 {
		a.Revision = a.Events[n-1].Revision
		a.Fragment = rest[0].Revision == a.Revision
	}
}
