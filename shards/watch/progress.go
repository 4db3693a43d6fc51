package watch

import "github.com/flotillakv/flotilla/shards/mvcc"

// allState is how far a watch is in a notice of progress for its whole stream.
type allState uint8

const (
	allNone    allState = iota
	allAsked            // its feed was asked how far it is
	allWaiting          // it has events to give out before
)

// allProgress is the notice for all watches that a stream prepares.
type allProgress struct {
	running bool
	again   bool // it was asked for again meanwhile
	left    int  // watches that are not so far
	// revision holds for each watch; 0 if none was asked yet.
	revision mvcc.Revision
	feed     *feed // of one of the watches
	mixed    bool  // the watches are of several namespaces
}

// Progress asks how far a watch came. It is answered with a notice when all that
// happened before was given out; with ErrWatchNotFound if there is no such watch.
func (s *Stream) Progress(id int64) {
	s.mu.Lock()
	w := s.watches[id]
	s.mu.Unlock()
	if w == nil {
		s.answer(Answer{WatchID: id, Canceled: true, Err: ErrWatchNotFound})
		return
	}
	s.askProgress(w.feed, []*watcher{w})
}

// askProgress has watches of one feed tell how far they came.
func (s *Stream) askProgress(f *feed, watches []*watcher) {
	f.mark(func(matched mvcc.Revision) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, w := range watches {
			w.progressAt = max(w.progressAt, matched, 1)
			s.makeReady(w)
		}
	})
}

// reached tells whether a watch has given out all its events up to a revision.
func (w *watcher) reached(revision mvcc.Revision) bool {
	switch {
	case w.inHand:
		return false
	case w.readsHistory():
		return w.readFrom().revision > revision
	}
	// A watch that is behind has something in its buffer, or it would read.
	return len(w.buffer) == 0 || w.buffer[0].Revision > revision
}

// tellProgress appends the notices that are due for a watch. It needs mu.
func (s *Stream) tellProgress(w *watcher, dst []Answer) []Answer {
	if w.progressAt != 0 && w.reached(w.progressAt) {
		w.sent = max(w.sent, w.progressAt)
		w.progressAt, w.told = 0, true
		dst = append(dst, Answer{WatchID: w.id, Revision: w.sent, Latest: w.sent})
	}
	if w.all == allWaiting && w.reached(w.allAt) {
		s.leaveAll(w)
		dst = s.giveAnswers(dst)
	}
	return dst
}

// asked tells whether a notice is due for the watch, now or later.
func (w *watcher) asked() bool { return w.progressAt != 0 || w.all == allWaiting }

// ProgressAll asks for one notice for all watches of the stream. It comes when
// each has given out all that happened before; then no older event follows.
func (s *Stream) ProgressAll() {
	s.mu.Lock()
	if s.all.running || s.ended != nil {
		s.all.again = s.all.running
		s.mu.Unlock()
		return
	}
	feeds := s.startAll()
	s.mu.Unlock()
	for f, watches := range feeds {
		s.askAll(f, watches)
	}
}

// startAll needs mu.
func (s *Stream) startAll() map[*feed][]*watcher {
	s.all = allProgress{running: true, left: len(s.watches)}
	feeds := make(map[*feed][]*watcher)
	for _, w := range s.watches {
		w.all = allAsked
		feeds[w.feed] = append(feeds[w.feed], w)
		s.all.feed = w.feed
	}
	parts := s.askRelays()
	s.all.left += parts
	s.all.mixed = s.all.mixed || len(feeds)+parts > 1
	if s.all.left == 0 {
		s.finishAll()
	}
	return feeds
}

func (s *Stream) askAll(f *feed, watches []*watcher) {
	f.mark(func(matched mvcc.Revision) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.all.revision == 0 || matched < s.all.revision {
			s.all.revision = matched
		}
		for _, w := range watches {
			if w.all != allAsked {
				continue
			}
			w.all, w.allAt = allWaiting, matched
			if w.reached(matched) {
				s.leaveAll(w)
				continue
			}
			s.makeReady(w)
		}
	})
}

// joinAll adds a watch that begins to the notice that is being prepared: else
// that could tell of revisions which the watch has yet to show. It needs mu.
func (s *Stream) joinAll(w *watcher) {
	if !s.all.running {
		return
	}
	w.all = allAsked
	s.all.left++
	s.all.mixed = s.all.mixed || w.feed != s.all.feed
	s.askAll(w.feed, []*watcher{w})
}

// leaveAll takes a watch out of the notice for the stream, which is given out
// with the last one. It needs mu.
func (s *Stream) leaveAll(w *watcher) {
	if w.all == allNone {
		return
	}
	w.all = allNone
	if s.all.left--; s.all.left == 0 {
		s.finishAll()
	}
}

func (s *Stream) finishAll() {
	revision := s.all.revision
	if s.all.mixed {
		revision = 0
	}
	again := s.all.again
	s.all = allProgress{}
	s.answers = append(s.answers, Answer{All: true, Revision: revision, Latest: revision})
	s.signal()
	if again {
		s.restartAll()
	}
}

// restartAll begins the next notice. mu is held, so the feeds are asked by
// workers of their own.
func (s *Stream) restartAll() {
	for f, watches := range s.startAll() {
		s.askAll(f, watches)
	}
}

// tick has the watches that asked for it, and were silent since the last tick,
// tell how far they came.
func (s *Stream) tick() {
	silent := make(map[*feed][]*watcher)
	s.mu.Lock()
	for _, w := range s.watches {
		if w.progress && !w.told {
			silent[w.feed] = append(silent[w.feed], w)
		}
		w.told = false
	}
	s.mu.Unlock()
	for f, watches := range silent {
		s.askProgress(f, watches)
	}
	s.timer.Reset(s.interval())
}
