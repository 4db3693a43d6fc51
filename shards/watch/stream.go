package watch

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// StreamConfig is how a stream behaves. Zero fields take the defaults.
type StreamConfig struct {
	// ProgressInterval is after how long without an answer a watch that asked
	// for it is told how far it came, give or take a tenth. Default 10 min.
	ProgressInterval time.Duration
	// StillValid returns an error once the caller's credential holds no more:
	// then all watches end with it. It is asked before answers are given out,
	// and every ValidityInterval, so it should be cheap. Default: always valid.
	StillValid func(context.Context) error
	// ValidityInterval is how long an idle stream may outlive its credential.
	// Default 1 s.
	ValidityInterval time.Duration
	// FromZero numbers the watches from 0, and not from 1.
	FromZero bool
}

func (c StreamConfig) withDefaults() StreamConfig {
	c.ProgressInterval = cmp.Or(c.ProgressInterval, 10*time.Minute)
	c.ValidityInterval = cmp.Or(c.ValidityInterval, time.Second)
	return c
}

// A Stream is the watches of one caller, which share their way to it: one
// goroutine calls Next for all of them. Create, Cancel and the rest may be
// called from others.
//
// Answers of different watches are mixed fairly: each in turn gives one.
type Stream struct {
	cfg StreamConfig
	// wake holds a token when Next may have something to do.
	wake chan struct{}
	// room holds a token when Room may have room.
	room chan struct{}
	// The timers of notices of progress, and of the credential; nil if they are
	// not needed. Next alone uses them.
	timer, validity *time.Timer

	// mu comes after the mu of feeds.
	mu      sync.Mutex
	watches map[int64]*watcher
	lastID  int64
	answers []Answer   // to be given out before any events
	ready   []*watcher // watches with something to give out, each once
	all     allProgress
	timed   bool  // some watch asked for notices of progress
	ended   error // given out after the last answer
	// relays bring the answers of watches that other nodes serve, which are
	// relayed, by id; nil while there are none.
	relays  []*Relay
	relayed map[int64]*relayed

	// The account of the tenant, once there was a watch, and what of it is this
	// stream's. All watches of a stream are of one tenant.
	accounts   *Accounts
	account    *account
	sending    int64
	sendingMax int64
}

// NewStream makes a stream, which must be closed.
func NewStream(cfg StreamConfig) *Stream {
	s := &Stream{cfg: cfg.withDefaults(), wake: make(chan struct{}, 1), room: make(chan struct{}, 1), watches: make(map[int64]*watcher)}
	if cfg.FromZero {
		s.lastID = -1
	}
	if cfg.StillValid != nil {
		s.validity = time.NewTimer(s.cfg.ValidityInterval)
	}
	return s
}

// Owner is whose watch it is.
type Owner struct {
	// Tenant is who answers for it.
	Tenant tenancy.TenantID
	// WatchesMax is how many the tenant may have on this node; 0 is any number.
	WatchesMax int
	// StreamsMax is on how many streams these may be; 0 is any number.
	StreamsMax int
	// Namespace is what is watched.
	Namespace tenancy.NamespaceID
}

// Create begins a watch on a namespace of the hub's shard. It is answered with
// Created, and its events follow. Errors are ErrWatchIDInUse,
// *tenancy.QuotaError, and those of the hub's end or of reading; then there is
// no watch and no answer.
func (s *Stream) Create(hub *Hub, owner Owner, spec Spec) error {
	if err := s.join(hub, owner); err != nil {
		return err
	}
	account, err := hub.accounts.open(owner.Tenant, owner.WatchesMax)
	if err != nil {
		return err
	}
	feed, err := hub.enter(owner.Namespace, account)
	if err != nil {
		hub.accounts.close(account)
		return err
	}
	w := &watcher{
		stream: s, feed: feed, account: account, id: spec.ID, start: spec.Start, end: spec.End,
		prevKV: spec.PrevKV, noPut: spec.NoPut, noDelete: spec.NoDelete, fragment: spec.Fragment, progress: spec.Progress,
		next: position{revision: spec.From}, behind: true,
	}
	if err := feed.begin(w, spec.Numbered); err != nil {
		w.leave()
		return err
	}
	return nil
}

// begin gives the watch its id and its place: at the newest revision, or in the
// history.
func (f *feed) begin(w *watcher, numbered bool) error {
	if err := f.know(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := w.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.register(w, numbered); err != nil {
		return err
	}
	published, _ := f.newest()
	if w.next.revision == 0 {
		w.next.revision = published + 1
	}
	f.countBehind(w, true)
	if w.next.revision > published {
		f.goLive(w)
	}
	w.sent = min(w.next.revision-1, published)
	s.answers = append(s.answers, Answer{WatchID: w.id, Created: true, Revision: w.sent, Latest: published, PrevKV: w.prevKV})
	if w.readsHistory() {
		s.makeReady(w)
	}
	s.joinAll(w)
	s.signal()
	return nil
}

// register gives the watch its id. It needs mu.
func (s *Stream) register(w *watcher, numbered bool) error {
	id, err := s.takeID(w.id, numbered)
	if err != nil {
		return err
	}
	w.id = id
	s.watches[w.id] = w
	s.timed = s.timed || w.progress
	return nil
}

// takeID finds the id for a watch that asks for one, 0 for any unless it is
// numbered. It needs mu.
func (s *Stream) takeID(id int64, numbered bool) (int64, error) {
	switch {
	case s.ended != nil:
		return 0, s.ended
	case id == 0 && !numbered:
		for id = s.lastID + 1; s.hasID(id); id++ {
		}
		s.lastID = id
	case s.hasID(id):
		return 0, ErrWatchIDInUse
	}
	return id, nil
}

// hasID needs mu.
func (s *Stream) hasID(id int64) bool { return s.watches[id] != nil || s.relayed[id] != nil }

// know has the feed know the namespace's revision.
func (f *feed) know() error {
	published, resets := f.newest()
	if published != 0 {
		return nil
	}
	var revision mvcc.Revision
	err := f.hub.read(f.namespace, func(_ mvcc.Reader, state mvcc.State) error {
		revision = state.Revision
		return nil
	})
	if err != nil {
		return err
	}
	f.learn(revision, resets)
	return nil
}

// Refuse answers a request to create a watch with an error, in its place among
// the answers.
func (s *Stream) Refuse(id int64, err error) {
	s.answer(Answer{WatchID: id, Created: true, Canceled: true, Err: err})
}

// Cancel ends a watch at its caller's wish. It is answered with Canceled, with
// ErrWatchNotFound if there is none.
func (s *Stream) Cancel(id int64) {
	s.mu.Lock()
	w := s.watches[id]
	s.mu.Unlock()
	if w == nil || !s.cancel(w, nil) {
		s.answer(Answer{WatchID: id, Canceled: true, Err: ErrWatchNotFound})
	}
}

// answer answers a request, unless the stream has ended.
func (s *Stream) answer(a Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return
	}
	s.answers = append(s.answers, a)
	s.signal()
}

// cancel ends a watch; false if it has ended before.
func (s *Stream) cancel(w *watcher, err error) bool {
	s.mu.Lock()
	if w.ended {
		s.mu.Unlock()
		return false
	}
	s.end(w, err)
	s.signal()
	s.mu.Unlock()
	w.leave()
	return true
}

// end needs mu; leave must follow without it.
func (s *Stream) end(w *watcher, err error) {
	w.ended = true
	delete(s.watches, w.id)
	s.answers = append(s.answers, Answer{
		WatchID: w.id, Canceled: true, Err: err, Resume: w.resume(), Revision: w.sent, Latest: w.sent, Lost: w.lost(err),
	})
	s.leaveAll(w)
}

// leave gives back what the watch holds of its feed. It has ended: nobody gives
// it anything more.
func (w *watcher) leave() {
	f := w.feed
	f.mu.Lock()
	f.index.remove(w)
	f.countBehind(w, false)
	f.mu.Unlock()
	w.stream.mu.Lock()
	w.releaseBuffer()
	w.stream.mu.Unlock()
	f.hub.leave(f)
	f.hub.accounts.close(w.account)
}

// End ends all watches with an error. Next gives out their last answers, and
// then the error.
func (s *Stream) End(err error) {
	s.mu.Lock()
	if s.ended == nil {
		s.ended = err
	}
	ended := s.sorted()
	for _, w := range ended {
		s.end(w, err)
	}
	s.endAllRelayed(err)
	s.signal()
	s.makeRoom()
	s.mu.Unlock()
	for _, w := range ended {
		w.leave()
	}
}

// Close ends the stream. Nobody may call Next any more.
func (s *Stream) Close() {
	s.End(errStreamClosed)
	s.leaveAccount()
	for _, timer := range []*time.Timer{s.timer, s.validity} {
		if timer != nil {
			timer.Stop()
		}
	}
}

// sorted is the stream's watches by id. It needs mu.
func (s *Stream) sorted() []*watcher {
	list := make([]*watcher, 0, len(s.watches))
	for _, w := range s.watches {
		list = append(list, w)
	}
	slices.SortFunc(list, func(a, b *watcher) int { return cmp.Compare(a.id, b.id) })
	return list
}

// Watches is how many watches the stream has.
func (s *Stream) Watches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.watches) + len(s.relayed)
}

// makeReady needs mu.
func (s *Stream) makeReady(w *watcher) {
	if !w.queued && !w.ended {
		w.queued = true
		s.ready = append(s.ready, w)
		s.signal()
	}
}

func (s *Stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default: // it has a token already
	}
}

// push gives a live watch events; if they do not fit, the watch is turned to the
// history and false is returned. The feed's mu is held.
func (s *Stream) push(w *watcher, events []*Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.ended {
		return true
	}
	kept := w.hold(events)
	if !kept {
		w.fall(events[0].Revision - 1)
	}
	s.makeReady(w)
	return kept
}

// fallBehind turns a live watch to the history. The feed's mu is held.
func (s *Stream) fallBehind(w *watcher, matched mvcc.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.ended {
		return
	}
	w.fall(matched)
	s.makeReady(w)
}
