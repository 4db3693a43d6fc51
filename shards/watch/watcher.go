package watch

import (
	"bytes"

	"github.com/flotillakv/flotilla/shards/mvcc"
)

// Spec says what a watch shows.
type Spec struct {
	// ID names the watch on its stream; 0 lets the stream choose, unless it is
	// Numbered.
	ID       int64
	Numbered bool
	// Start and End bound the keys: those in [Start, End). An empty End is no
	// upper bound.
	Start, End []byte
	// From is the first revision to show; 0 is what changes from now on.
	From mvcc.Revision
	// PrevKV asks for the versions before the events.
	PrevKV bool
	// NoPut and NoDelete leave out writes, or deletions.
	NoPut, NoDelete bool
	// Fragment lets the events of one revision be split over several answers.
	Fragment bool
	// Progress asks for a notice of progress when nothing happened for a while.
	Progress bool
}

// watcher is one watch of a stream.
//
// It is live while it is in its feed's index, which gives it events as they
// happen; otherwise it is behind: it gives out what is left in its buffer, and
// then reads the history from historyFrom on. A watch that has just become live
// may still have a piece of history to read, up to historyTo, before what the
// index gave it.
//
// W2: next is the place of the first event that was not given out. What is
// before it was given out, or does not concern the watch.
type watcher struct {
	id         int64
	stream     *Stream
	feed       *feed
	account    *account
	start, end []byte

	prevKV, noPut, noDelete, fragment, progress bool

	// Guarded by feed.mu.
	group    *group        // in the feed's index; nil while the watch is behind
	place    int           // in group.watches
	liveFrom mvcc.Revision // the index gives it no older events
	staged   []*Event      // of the batch that is being matched
	counted  bool          // in feed.behind

	// Guarded by stream.mu.
	next      position
	historyTo mvcc.Revision
	// historyFrom is where a watch that is behind goes on after its buffer.
	historyFrom mvcc.Revision
	buffer      []*Event
	bytes       int // of buffer
	behind      bool
	ended       bool
	queued      bool // in stream.ready
	told        bool // an answer was given since the last tick
	inHand      bool // Next may give some of the events back that it took
	// progressAt is a revision to tell of, once all before it was given out; 0
	// is none.
	progressAt mvcc.Revision
	// sent is the revision of the last answer.
	sent mvcc.Revision
	// all tells how far the watch is in a notice for the whole stream.
	all   allState
	allAt mvcc.Revision
}

// wants tells whether an event on a key of the watch passes its filters.
func (w *watcher) wants(e *Event) bool {
	if e.IsDelete() {
		return !w.noDelete
	}
	return !w.noPut
}

// covers tells whether a key is one of the watch's.
func (w *watcher) covers(key []byte) bool {
	return bytes.Compare(key, w.start) >= 0 && endsAfter(w.end, key)
}

// readsHistory tells whether the next events come from the history.
func (w *watcher) readsHistory() bool {
	if w.behind {
		return len(w.buffer) == 0
	}
	return w.next.revision <= w.historyTo
}

// hold adds events to the buffer, which may keep the slice; it refuses what does
// not fit.
func (w *watcher) hold(events []*Event) bool {
	size := 0
	for _, e := range events {
		size += e.size()
	}
	cfg := &w.feed.hub.cfg
	if w.bytes+size > cfg.WatchBytesMax || w.account.bytes.Load() > w.account.bytes.most(int64(cfg.TenantBytesMax)) {
		return false
	}
	for _, e := range events {
		w.account.hold(e)
	}
	w.bytes += size
	if w.buffer == nil {
		w.buffer = events
	} else {
		w.buffer = append(w.buffer, events...)
	}
	return true
}

// fall turns a live watch to the history. seen is the revision up to which the
// index gave it all its events.
func (w *watcher) fall(seen mvcc.Revision) {
	if w.readsHistory() { // what is in the buffer comes later
		w.releaseBuffer()
		w.historyFrom = 0
	} else {
		w.historyFrom = seen + 1
	}
	w.behind, w.historyTo = true, 0
}

// readFrom is where a watch with an empty buffer reads the history on.
func (w *watcher) readFrom() position {
	if w.behind && w.next.revision < w.historyFrom {
		return position{revision: w.historyFrom}
	}
	return w.next
}

func (w *watcher) releaseBuffer() {
	for _, e := range w.buffer {
		w.account.release(e)
	}
	w.buffer, w.bytes = nil, 0
}

// answerBytesMax is when an answer is full. It holds at least one revision, or
// one event if it may be split.
const answerBytesMax = 64 << 10

// take gives out the first events of the buffer, as many as make an answer.
func (w *watcher) take() []*Event {
	n, bytes := 0, 0
	for n < len(w.buffer) {
		begins := n == 0 || w.buffer[n].Revision != w.buffer[n-1].Revision
		if bytes >= answerBytesMax && (begins || w.fragment) {
			break
		}
		bytes += w.buffer[n].answerBytes(w.prevKV)
		n++
	}
	events := w.buffer[:n:n]
	for _, e := range events {
		w.account.release(e)
		w.bytes -= e.size()
	}
	if w.buffer = w.buffer[n:]; len(w.buffer) == 0 {
		w.buffer = nil // events keeps the array
	}
	w.next = position{revision: events[n-1].Revision + 1}
	if w.splits(events) {
		w.next = w.buffer[0].position()
	}
	return events
}

// giveBack undoes a part of take, or of reading the history.
func (w *watcher) giveBack(events []*Event, history bool) {
	w.next = events[0].position()
	if history {
		return
	}
	for _, e := range events {
		w.account.hold(e)
		w.bytes += e.size()
	}
	w.buffer = append(events, w.buffer...)
}

// splits tells whether more events of the last one's revision are in the buffer.
func (w *watcher) splits(events []*Event) bool {
	return len(w.buffer) > 0 && w.buffer[0].Revision == events[len(events)-1].Revision
}

// resume is the revision to begin again from.
func (w *watcher) resume() mvcc.Revision { return w.next.revision }

// lost is what Answer.Lost tells of the watch.
func (w *watcher) lost(err error) *Lost {
	if err == nil || w.next.sub != 0 {
		return nil
	}
	return &Lost{Namespace: w.feed.namespace, Spec: Spec{
		ID: w.id, Start: w.start, End: w.end, From: w.resume(), PrevKV: w.prevKV,
		NoPut: w.noPut, NoDelete: w.noDelete, Fragment: w.fragment, Progress: w.progress,
	}}
}
