package watch

import (
	"sync"

	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// A feed brings the events of one namespace to its watches, and exists for as
// long as it has some. What is published waits in a queue, in order; a worker,
// which runs only while there is something in it, looks up which watches each
// event concerns.
//
// A place in the queue may be a gap: then some events are known from the history
// alone, because they were too many or were not recorded, and the watches turn
// to it.
//
// W1: when the worker has come to revision `matched`, each live watch has got
// all its events up to there, that its history does not have to give.
type feed struct {
	hub       *Hub
	namespace tenancy.NamespaceID
	account   *account
	users     int // guarded by hub.mu

	// queueMu guards what the apply goroutine touches; it is held for moments.
	queueMu sync.Mutex
	queue   []parcel
	bytes   int // of the events in queue
	running bool
	// published is the newest revision that was published, or read at the
	// beginning; 0 if it is not known yet.
	published mvcc.Revision
	// resets counts the times when matched became unknown.
	resets int

	// mu guards the rest, and comes before queueMu and any stream's mu.
	mu    sync.Mutex
	index index
	// matched is how far the worker came; 0 if it is not known.
	matched mvcc.Revision
	touched []*watcher // buffer of the worker

	// behind is how many watches are behind, and recent what they will need
	// first: see recent.go.
	behind int
	recent recentEvents
}

// parcel is one place in a feed's queue.
type parcel struct {
	kind     parcelKind
	revision mvcc.Revision // of parcelEvents and parcelGap: up to here
	events   []*Event
	bytes    int
	mark     func(matched mvcc.Revision)
}

type parcelKind uint8

const (
	parcelEvents parcelKind = iota
	// parcelGap is events that are known from the history alone.
	parcelGap
	// parcelReset is a gap that ends at an unknown revision.
	parcelReset
	// parcelMark calls a function when all before it is matched.
	parcelMark
)

// publish queues what a batch changed, up to a revision. It does not block.
func (f *feed) publish(rev mvcc.Revision, events []*Event, complete bool) {
	p := parcel{kind: parcelEvents, revision: rev, events: events}
	for _, e := range events {
		p.bytes += e.size()
	}
	f.queueMu.Lock()
	defer f.queueMu.Unlock()
	f.published = max(f.published, rev)
	if !complete || f.bytes+p.bytes > feedBytesMax || f.account.queued.Load()+int64(p.bytes) > f.account.queued.most(queuedBytesMax) {
		p = parcel{kind: parcelGap, revision: rev}
		if last := len(f.queue) - 1; last >= 0 && f.queue[last].kind == parcelGap {
			f.queue[last].revision = rev
			return
		}
	}
	f.put(p)
}

// reset queues a gap that ends at an unknown revision.
func (f *feed) reset() {
	f.queueMu.Lock()
	defer f.queueMu.Unlock()
	f.resets++
	f.published = 0
	f.put(parcel{kind: parcelReset})
}

// mark calls a function, with the feed locked, once all that was published
// before is matched.
func (f *feed) mark(call func(matched mvcc.Revision)) {
	f.queueMu.Lock()
	defer f.queueMu.Unlock()
	f.put(parcel{kind: parcelMark, mark: call})
}

// put needs queueMu.
func (f *feed) put(p parcel) {
	if !f.running {
		if !f.hub.startWorker(f.run) {
			return // the watches are about to end
		}
		f.running = true
	}
	f.queue = append(f.queue, p)
	f.bytes += p.bytes
	f.account.queued.Add(int64(p.bytes))
}

// run matches until the queue is empty.
func (f *feed) run() {
	var parcels []parcel
	for {
		f.queueMu.Lock()
		clear(parcels)
		parcels, f.queue = f.queue, parcels[:0]
		f.account.queued.Add(-int64(f.bytes))
		f.bytes = 0
		if len(parcels) == 0 {
			f.queue = nil // an idle feed keeps no buffers
			f.running = false
			f.queueMu.Unlock()
			return
		}
		f.queueMu.Unlock()
		f.mu.Lock()
		for i := range parcels {
			f.deliver(&parcels[i])
		}
		f.mu.Unlock()
	}
}

// deliver needs mu.
func (f *feed) deliver(p *parcel) {
	switch p.kind {
	case parcelEvents:
		f.match(p.events)
		f.remember(p)
		f.matched = max(f.matched, p.revision)
	case parcelGap:
		f.hub.metrics.gaps.Inc()
		f.toHistory()
		f.forget()
		f.matched = max(f.matched, p.revision)
	case parcelReset:
		f.hub.metrics.gaps.Inc()
		f.toHistory()
		f.forget()
		f.matched = 0
	case parcelMark:
		p.mark(f.matched)
	}
}

// match gives events to the watches that they concern: first it finds them, so
// that each then gets all of a batch at once, and no revision in parts.
func (f *feed) match(events []*Event) {
	for _, e := range events {
		f.index.find(e.Key, func(w *watcher) {
			if e.Revision < w.liveFrom || !w.wants(e) {
				return
			}
			if len(w.staged) == 0 {
				f.touched = append(f.touched, w)
			}
			w.staged = append(w.staged, e)
		})
	}
	for i, w := range f.touched {
		if !w.stream.push(w, w.staged) {
			f.hub.metrics.overflows.Inc()
			f.index.remove(w)
			f.countBehind(w, true)
		}
		w.staged = nil
		f.touched[i] = nil
	}
	f.touched = f.touched[:0]
}

// toHistory turns all live watches to the history.
func (f *feed) toHistory() {
	var live []*watcher
	f.index.all(func(w *watcher) { live = append(live, w) })
	for _, w := range live {
		f.index.remove(w)
		f.countBehind(w, true)
		w.stream.fallBehind(w, f.matched)
	}
}

func (f *feed) cancelAll(err error) {
	f.mu.Lock()
	var live []*watcher
	f.index.all(func(w *watcher) { live = append(live, w) })
	f.mu.Unlock()
	for _, w := range live {
		w.stream.cancel(w, err)
	}
}

// newest is the newest revision that is known, 0 if none is, and how often that
// was forgotten.
func (f *feed) newest() (published mvcc.Revision, resets int) {
	f.queueMu.Lock()
	defer f.queueMu.Unlock()
	return f.published, f.resets
}

// learn tells the feed the namespace's revision, which was read after resets was
// asked for. It changes nothing if the feed knows it.
func (f *feed) learn(revision mvcc.Revision, resets int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queueMu.Lock()
	defer f.queueMu.Unlock()
	if f.resets != resets {
		return
	}
	if f.published == 0 {
		f.published = revision
	}
	if f.matched == 0 {
		f.matched = revision
	}
}
