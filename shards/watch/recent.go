package watch

import (
	"sort"

	"github.com/flotillakv/flotilla/shards/mvcc"
)

// recentEvents are the last events of a feed, kept while it has watches that are
// behind. A thousand watches of one prefix that all are a little slow then share
// them, as they would if they were live, and do not read the same from disk a
// thousand times.
//
// W3: they are all events of the namespace from revision `from` to `upTo`. from
// is 0 if there are none.
type recentEvents struct {
	from   mvcc.Revision
	upTo   mvcc.Revision
	events []*Event
	bytes  int
}

// countBehind notes that a watch is behind, or no longer is. It needs mu.
func (f *feed) countBehind(w *watcher, behind bool) {
	if w.counted == behind {
		return
	}
	w.counted = behind
	if behind {
		f.behind++
		return
	}
	if f.behind--; f.behind == 0 {
		f.forget()
	}
}

// forget drops the recent events. It needs mu.
func (f *feed) forget() {
	f.account.recent.Add(-int64(f.recent.bytes))
	f.recent = recentEvents{}
}

// remember adds a parcel that was matched to the recent events. It needs mu.
func (f *feed) remember(p *parcel) {
	r := &f.recent
	if f.behind == 0 || r.from == 0 && len(p.events) == 0 {
		return
	}
	if r.from == 0 {
		r.from = p.events[0].Revision
	}
	r.upTo = p.revision
	r.events = append(r.events, p.events...)
	had := r.bytes
	r.bytes += p.bytes
	// What the tenant's other namespaces leave, if that is less.
	others := int(f.account.recent.Load()) - had
	most := min(f.hub.cfg.RecentBytesMax, max(f.hub.cfg.TenantRecentBytesMax-others, 0))
	drop := 0
	for drop < len(r.events) && r.bytes > most {
		// All of a revision goes, or nothing.
		revision := r.events[drop].Revision
		for drop < len(r.events) && r.events[drop].Revision == revision {
			r.bytes -= r.events[drop].size()
			drop++
		}
		r.from = revision + 1
	}
	f.account.recent.Add(int64(r.bytes - had))
	// The array's beginning is let go when it is grown the next time.
	r.events = r.events[drop:]
}

// recentPage is readPage from the recent events; false if they do not reach back
// so far.
func (f *feed) recentPage(w *watcher, from position, to mvcc.Revision) (page, bool) {
	f.mu.Lock()
	recent := f.recent
	f.mu.Unlock()
	if recent.from == 0 || from.revision < recent.from || from.revision > recent.upTo ||
		to > recent.upTo || f.hub.closed() != nil {
		return page{}, false
	}
	if to == 0 {
		to = recent.upTo
	}
	// What follows shares the array with the worker, which only adds to its end.
	events := recent.events
	events = events[sort.Search(len(events), func(i int) bool { return !events[i].position().before(from) }):]
	p := page{next: position{revision: to + 1}, done: true, newest: recent.upTo}
	last := from.revision
	for i, e := range events {
		if e.Revision > to {
			break
		}
		full := p.bytes >= answerBytesMax || i >= pageEventsMax
		if full && e.Revision != last {
			p.next, p.done = position{revision: e.Revision}, false
			break
		}
		last = e.Revision
		if !w.covers(e.Key) || !w.wants(e) {
			continue
		}
		if full && w.fragment {
			p.next, p.done = e.position(), false
			p.split = len(p.events) > 0 && p.events[len(p.events)-1].Revision == e.Revision
			break
		}
		p.events = append(p.events, e)
		p.bytes += e.answerBytes(w.prevKV)
	}
	return p, true
}
