package watch

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/flotillakv/flotilla/shards/mvcc"
)

// A Relay brings a stream the answers of watches that another node serves. They
// have their ids from the stream, are part of its notices of progress for all, and
// end with it. One goroutine puts answers:
//
//	relay, err := stream.NewRelay(accounts, owner, source.ProgressAll)
//	id, err := relay.Take(&spec)               // a watch begins
//	for {
//		err := relay.Ready(ctx)
//		answers, err := source.Receive()
//		if relay.Put(answers) {
//			err := relay.Taken(ctx)
//		}
//	}
//
// What it puts counts as being sent, like what the stream's own watches give.
type Relay struct {
	stream *Stream
	// ask has the other node asked how far all watches of the relay came; nil while
	// there is none. The stream is locked: it must not block.
	ask func()
	// taken holds a token when Next took what was given.
	taken chan struct{}

	// What follows is guarded by the stream's mu.
	watches map[int64]*relayed
	lost    bool // see Lose
	asked   bool // an answer for all is waited for
	gave    bool // something that Next has not taken
}

// relayed is one watch of a relay.
type relayed struct {
	relay *Relay
	// resume is the revision to begin again from, and sent that of the last
	// answer.
	resume, sent mvcc.Revision
}

// NewRelay makes a relay for watches of an owner; ask may be nil for one that
// keeps watches only until others adopt them. Its error is a *tenancy.QuotaError,
// if the stream is one too many for the tenant, or that of the stream's end.
func (s *Stream) NewRelay(accounts *Accounts, owner Owner, ask func()) (*Relay, error) {
	if err := s.joinAccounts(accounts, owner, Config{}.WithDefaults().SendingBytesMax); err != nil {
		return nil, err
	}
	r := &Relay{stream: s, ask: ask, taken: make(chan struct{}, 1), watches: make(map[int64]*relayed)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.relays = append(s.relays, r)
	return r, nil
}

// Take gives a watch the id of its spec. Errors are ErrWatchIDInUse, and that of
// the stream's end.
func (r *Relay) Take(spec *Spec) (int64, error) {
	s := r.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := s.takeID(spec.ID, spec.Numbered)
	if err != nil {
		return 0, err
	}
	if s.relayed == nil {
		s.relayed = make(map[int64]*relayed)
	}
	s.all.mixed = true // if one is being prepared, it knows nothing of this one
	w := &relayed{relay: r}
	s.relayed[id], r.watches[id] = w, w
	return id, nil
}

// Free gives back the id of a watch that did not begin.
func (r *Relay) Free(id int64) {
	r.stream.mu.Lock()
	defer r.stream.mu.Unlock()
	r.forget(id)
}

// Adopt moves a watch here from another relay, whose source was lost. It returns
// false if the watch has ended.
func (r *Relay) Adopt(id int64) bool {
	r.stream.mu.Lock()
	defer r.stream.mu.Unlock()
	w := r.stream.relayed[id]
	if w == nil {
		return false
	}
	from := w.relay
	delete(from.watches, id)
	if from.lost && len(from.watches) == 0 {
		r.stream.dropRelay(from)
	}
	w.relay = r
	r.watches[id] = w
	return true
}

// forget needs mu.
func (r *Relay) forget(id int64) {
	if w := r.stream.relayed[id]; w != nil {
		delete(w.relay.watches, id)
		delete(r.stream.relayed, id)
	}
}

// fullPause is how long a relay waits before it looks again whether there is room.
const fullPause = 20 * time.Millisecond

// Ready waits until the tenant's streams have sent enough for more to come.
func (r *Relay) Ready(ctx context.Context) error {
	for {
		s := r.stream
		s.mu.Lock()
		full := s.account != nil && s.ended == nil && s.account.sending.bytes.Load() > s.sendingMax
		s.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-time.After(fullPause):
		case <-ctx.Done():
			return fmt.Errorf("wait for answers to be sent: %w", context.Cause(ctx))
		}
	}
}

// Put has Next give out answers. Those of watches that have ended, or are another
// relay's, are left out. It returns false if none are left.
func (r *Relay) Put(answers []Answer) (put bool) {
	s := r.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return false
	}
	for _, a := range answers {
		if a.All {
			r.tellAll(a.Revision)
			continue
		}
		w := s.relayed[a.WatchID]
		if w == nil || w.relay != r {
			continue
		}
		w.note(&a)
		if a.Canceled {
			r.forget(a.WatchID)
		}
		if len(a.Events) > 0 {
			s.charge(&a)
		}
		s.answers = append(s.answers, a)
		put = true
	}
	if put {
		r.gave = true
		select {
		case <-r.taken: // what was given before does not count
		default:
		}
		s.signal()
	}
	return put
}

// Taken waits until Next has given out what was put. Its error is that of ctx.
func (r *Relay) Taken(ctx context.Context) error {
	select {
	case <-r.taken:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for answers to be taken: %w", context.Cause(ctx))
	}
}

// note keeps how far the watch is.
func (w *relayed) note(a *Answer) {
	w.sent = max(w.sent, a.Revision)
	if w.resume = max(w.resume, a.Revision+1); a.Fragment {
		w.resume, w.sent = a.Revision, a.Revision-1
	}
}

// Finish ends a watch, unless it has ended: with an error, or without one at its
// caller's wish.
func (r *Relay) Finish(id int64, resume mvcc.Revision, err error) {
	s := r.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.relayed[id]; w != nil && s.ended == nil {
		w.resume = resume
		s.endRelayed(id, w, err)
		s.signal()
	}
}

// endRelayed needs mu.
func (s *Stream) endRelayed(id int64, w *relayed, err error) {
	delete(w.relay.watches, id)
	delete(s.relayed, id)
	s.answers = append(s.answers, Answer{WatchID: id, Canceled: true, Err: err, Resume: w.resume, Revision: w.sent, Latest: w.sent})
}

// endAllRelayed needs mu.
func (s *Stream) endAllRelayed(err error) {
	ids := make([]int64, 0, len(s.relayed))
	for id := range s.relayed {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, cmp.Compare)
	for _, id := range ids {
		s.endRelayed(id, s.relayed[id], err)
	}
}

// Lose notes that nothing more comes from the other node. The relay keeps its
// watches for others to adopt.
func (r *Relay) Lose() {
	s := r.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	r.ask, r.lost = nil, true
	r.tellAll(0)
	if len(r.watches) == 0 {
		s.dropRelay(r)
	}
}

// dropRelay needs mu.
func (s *Stream) dropRelay(r *Relay) {
	if i := slices.Index(s.relays, r); i >= 0 {
		s.relays = slices.Delete(s.relays, i, i+1)
	}
}

// tellAll takes a relay's part of a notice for all watches: 0 if it has no
// revision to tell. It needs mu.
func (r *Relay) tellAll(revision mvcc.Revision) {
	s := r.stream
	if !r.asked {
		return
	}
	r.asked = false
	if revision == 0 {
		s.all.mixed = true
	} else if s.all.revision == 0 || revision < s.all.revision {
		s.all.revision = revision
	}
	if s.all.left--; s.all.left == 0 {
		s.finishAll()
	}
}

// askRelays has the relays that have watches take part in a notice for all; it
// returns how many do. Those that nobody serves now make it one without a
// revision. It needs mu.
func (s *Stream) askRelays() (parts int) {
	for _, r := range s.relays {
		switch {
		case len(r.watches) == 0:
		case r.ask == nil:
			s.all.mixed = true
		default:
			r.asked = true
			parts++
			r.ask()
		}
	}
	return parts
}

// tookAnswers tells the relays that Next took what they gave. It needs mu.
func (s *Stream) tookAnswers() {
	for _, r := range s.relays {
		if r.gave {
			r.gave = false
			select {
			case r.taken <- struct{}{}:
			default: // it has a token already
			}
		}
	}
}
