package watch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// errStreamClosed says that the stream was closed by its owner.
var errStreamClosed = errors.New("the stream of watches is closed")

const (
	// answersMax bounds the answers that one call of Next gives, and
	// nextBytesMax their bytes.
	answersMax   = 64
	nextBytesMax = 512 << 10
)

// Next waits until the stream has something to tell and appends it to dst. The
// answers of each watch come in their order. It is for one goroutine alone. What
// it gave out counts to the tenant's account until it is called again, or Close.
//
// Its error is that of End, once all answers were given out, or says that ctx
// has ended.
func (s *Stream) Next(ctx context.Context, dst []Answer) ([]Answer, error) {
	had := len(dst)
	s.wasSent()
	for {
		if err := s.validate(ctx); err != nil {
			return dst, err
		}
		var history *watcher
		var err error
		dst, history, err = s.gather(dst, had)
		if err != nil {
			return dst, err
		}
		if history != nil {
			dst = s.readOn(history, dst)
		}
		for i := had; i < len(dst); i++ {
			if !s.complete(&dst[i]) {
				dst = dst[:i] // it was the last
			}
		}
		if len(dst) > had {
			return dst, nil
		}
		if history != nil {
			if err := ctx.Err(); err != nil {
				return dst, fmt.Errorf("wait for events: %w", context.Cause(ctx))
			}
			continue
		}
		if err := s.wait(ctx); err != nil {
			return dst, err
		}
	}
}

// gather appends what is there: notices, then events of the ready watches, in
// turn. If the next one must read the history first, it is returned.
func (s *Stream) gather(dst []Answer, had int) (_ []Answer, history *watcher, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dst = s.giveAnswers(dst)
	if s.full() {
		return dst, nil, nil
	}
	bytes := 0
	for len(s.ready) > 0 && len(dst)-had < answersMax && bytes < nextBytesMax {
		w := s.ready[0]
		if w.readsHistory() && !w.ended && len(dst) > had {
			break // which takes a while: first what is there
		}
		s.ready[0] = nil
		s.ready = s.ready[1:]
		w.queued = false
		if w.ended {
			continue
		}
		if w.readsHistory() {
			return dst, w, nil
		}
		var taken int
		dst, taken = s.takeFrom(w, dst)
		bytes += taken
		if taken > 0 && dst[len(dst)-1].lacksPrevious() {
			// Some of its events may have to be given back, so it is the last.
			w.inHand = true
			break
		}
	}
	if len(dst) == had && len(s.ready) == 0 && s.ended != nil {
		return dst, nil, s.ended
	}
	return dst, nil, nil
}

// takeFrom appends the next answers of a live watch, events at most once and
// last. It needs mu.
func (s *Stream) takeFrom(w *watcher, dst []Answer) (_ []Answer, bytes int) {
	dst = s.tellProgress(w, dst)
	defer func() {
		if w.behind || len(w.buffer) > 0 || w.asked() {
			s.makeReady(w)
		}
	}()
	if len(w.buffer) > 0 {
		events := w.take()
		last := events[len(events)-1].Revision
		a := s.eventsAnswer(w, events)
		a.Revision, a.Fragment = last, w.splits(events)
		if w.sent = last; a.Fragment {
			w.sent--
		}
		for _, e := range events {
			bytes += e.answerBytes(w.prevKV)
		}
		s.charge(&a)
		return append(dst, a), bytes
	}
	return dst, bytes
}

// eventsAnswer needs mu.
func (s *Stream) eventsAnswer(w *watcher, events []*Event) Answer {
	w.told = true
	return Answer{WatchID: w.id, PrevKV: w.prevKV, Events: events, source: w}
}

// readOn reads a page of history for a watch, and appends its events.
func (s *Stream) readOn(w *watcher, dst []Answer) []Answer {
	s.mu.Lock()
	from, to := w.readFrom(), w.historyTo
	s.mu.Unlock()
	_, resets := w.feed.newest()
	p, ok := w.feed.recentPage(w, from, to)
	var err error
	if !ok {
		s.account.sending.startReading()
		defer s.account.sending.endReading()
		if s.postponed(w) {
			return dst
		}
		p, err = w.readPage(from, to)
	}
	if err != nil {
		s.cancel(w, err)
		return dst // the next turn tells so
	}
	s.mu.Lock()
	if w.ended {
		s.mu.Unlock()
		return dst
	}
	w.next = p.next
	if len(p.events) > 0 {
		a := s.eventsAnswer(w, p.events)
		a.Revision, a.Fragment = p.revision(), p.split
		if w.sent = a.Revision; a.Fragment {
			w.sent--
		}
		a.history = true
		s.charge(&a)
		w.inHand = a.lacksPrevious() // events that others see too
		dst = append(dst, a)
	}
	joins := w.behind && p.done && !w.inHand
	s.mu.Unlock()
	if joins {
		w.feed.learn(p.newest, resets)
		w.feed.join(w)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.behind || w.readsHistory() || len(w.buffer) > 0 || w.asked() {
		s.makeReady(w)
	}
	return dst
}

// postponed tells whether a watch must read later, when the tenant's streams
// have sent some of what they are sending.
func (s *Stream) postponed(w *watcher) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.full() {
		return false
	}
	s.makeReady(w)
	return true
}

// answersKept is how many places for answers an idle stream keeps.
const answersKept = 64

// giveAnswers moves the answers that are there to dst. It needs mu.
func (s *Stream) giveAnswers(dst []Answer) []Answer {
	if dst = append(dst, s.answers...); len(s.answers) > 0 {
		s.makeRoom()
		s.tookAnswers()
	}
	clear(s.answers)
	if s.answers = s.answers[:0]; cap(s.answers) > answersKept {
		s.answers = nil
	}
	return dst
}

// join makes a watch live that has read all the history there was.
func (f *feed) join(w *watcher) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.stream.mu.Lock()
	defer w.stream.mu.Unlock()
	if !w.ended {
		f.goLive(w)
	}
}

// goLive puts a watch that is behind into the index. What the index will not
// give it any more is left for the history, up to historyTo. Both locks are held.
func (f *feed) goLive(w *watcher) {
	if f.matched == 0 {
		return // it does not know either: the watch stays behind for now
	}
	f.countBehind(w, false)
	w.behind = false
	w.historyTo, w.historyFrom = 0, 0
	if w.next.revision <= f.matched {
		w.historyTo = f.matched
	}
	w.liveFrom = max(w.next.revision, f.matched+1)
	f.index.add(w)
}

// wait returns when there may be something to do, or an error when ctx ended.
func (s *Stream) wait(ctx context.Context) error {
	select {
	case <-s.wake:
		s.startTimer()
		return nil
	case <-ticks(s.timer):
		s.tick()
		return nil
	case <-ticks(s.validity):
		s.validity.Reset(s.cfg.ValidityInterval)
		return nil // Next validates in each turn
	case <-ctx.Done():
		return fmt.Errorf("wait for events: %w", context.Cause(ctx))
	}
}

func ticks(timer *time.Timer) <-chan time.Time {
	if timer == nil {
		return nil
	}
	return timer.C
}

// validate ends the stream if its caller's credential holds no more. Its error
// is that of ctx.
func (s *Stream) validate(ctx context.Context) error {
	if s.cfg.StillValid == nil {
		return nil
	}
	err := s.cfg.StillValid(ctx)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("wait for events: %w", context.Cause(ctx))
	}
	if err != nil {
		s.End(err)
	}
	return nil
}

func (s *Stream) startTimer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timed && s.timer == nil {
		s.timer = time.NewTimer(s.interval())
	}
}

// interval is jittered, so that the streams of a node that was started again do
// not all speak at once.
func (s *Stream) interval() time.Duration {
	tenth := s.cfg.ProgressInterval / 10
	return s.cfg.ProgressInterval - tenth + rand.N(2*tenth+1) //nolint:gosec // spreads load, guards nothing
}
