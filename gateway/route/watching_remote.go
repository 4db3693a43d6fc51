package route

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/watch"
)

const (
	// serversMax is among how many of the nodes that have a replica watches are
	// spread.
	serversMax = 3
	// resumeMax is for how long a watch that was lost may look for another node.
	resumeMax = 30 * time.Second
	// resumersMax is how many watches of a caller do so at the same time.
	resumersMax = 16
)

// remote is a node that serves watches of the caller.
type remote struct {
	node    string
	source  shards.WatchSource
	relay   *watch.Relay
	watches map[int64]*awayWatch // guarded by the watching's mu
	lost    error                // likewise
}

// begin has a node serve a watch, the one whose turn it is in the attempt, and
// waits until it does.
func (w *watching) begin(ctx context.Context, a *awayWatch, attempt int) error {
	hosts := w.router.cfg.Directory.Hosts(a.shard)
	if len(hosts) == 0 {
		return &shards.NotLeaderError{Shard: a.shard}
	}
	rem, err := w.open(ctx, hosts[attempt%len(hosts)], a.owner)
	if err != nil {
		return err
	}
	began := make(chan error, 1)
	spec := a.spec
	w.mu.Lock()
	if rem.lost != nil || a.canceled {
		w.mu.Unlock()
		return rem.lost
	}
	a.began, rem.watches[spec.ID] = began, a
	spec.From, a.ahead = a.next, a.given
	w.mu.Unlock()
	if err := rem.source.Begin(a.shard, a.owner.Namespace, spec); err == nil {
		select {
		case err := <-began:
			return err
		case <-ctx.Done():
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case err := <-began: // it came all the same
		return err
	default:
	}
	// It may begin after all, and its id be another's then: so nothing more is
	// heard from there.
	a.began = nil
	delete(rem.watches, spec.ID)
	w.workers.Go(rem.source.Close)
	return &shards.UnreachableError{Node: rem.node, Cause: context.Cause(ctx)}
}

// open returns the source of watches on a node, and opens it if need be.
func (w *watching) open(ctx context.Context, node string, owner watch.Owner) (*remote, error) {
	w.mu.Lock()
	rem := w.remotes[node]
	w.mu.Unlock()
	if rem != nil {
		return rem, nil
	}
	source, err := w.router.cfg.Remote.OpenWatches(ctx, node, owner, w.progress)
	if err != nil {
		return nil, err
	}
	relay, err := w.stream.NewRelay(&w.router.accounts, owner, source.ProgressAll)
	if err != nil {
		source.Close()
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if other := w.remotes[node]; other != nil || w.ctx.Err() != nil {
		relay.Lose()
		source.Close()
		if other == nil {
			return nil, fmt.Errorf("open watches: %w", w.ctx.Err())
		}
		return other, nil
	}
	rem = &remote{node: node, source: source, relay: relay, watches: make(map[int64]*awayWatch)}
	w.remotes[node] = rem
	w.workers.Go(func() { w.receive(rem) })
	return rem, nil
}

// receive brings a node's answers to the stream until the source ends.
func (w *watching) receive(rem *remote) {
	for {
		err := rem.relay.Ready(w.ctx)
		var answers []watch.Answer
		if err == nil {
			answers, err = rem.source.Receive()
		}
		if err != nil {
			w.lose(rem, err)
			return
		}
		answers, tell, moved := w.note(rem, answers)
		put := rem.relay.Put(answers)
		for _, told := range tell {
			told()
		}
		w.resume(moved)
		// What only answers requests is little, and its caller may have more.
		if put && slices.ContainsFunc(answers, func(a watch.Answer) bool { return len(a.Events) > 0 }) {
			err = rem.relay.Taken(w.ctx)
		}
		if err != nil {
			w.lose(rem, err)
			return
		}
	}
}

// note keeps what answers say of the watches. It returns those that are for the
// caller, how to tell those who wait for a watch to begin, and the watches that
// have to move.
func (w *watching) note(rem *remote, answers []watch.Answer) (kept []watch.Answer, tell []func(), moved []*awayWatch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, answer := range answers {
		a := rem.watches[answer.WatchID]
		switch {
		case answer.All:
			kept = append(kept, answer)
		case a == nil: // it has ended
		case a.began != nil:
			tell = append(tell, w.noteBegun(rem, a, &answer))
			if !answer.Canceled && a.remote == rem && !a.resumed {
				a.resumed = true
				kept = append(kept, answer)
			}
		case answer.Canceled:
			delete(rem.watches, answer.WatchID)
			if !a.canceled && notApplied(answer.Err) {
				w.strand(a)
				moved = append(moved, a)
				continue
			}
			delete(w.away, answer.WatchID)
			kept = append(kept, answer)
		default:
			if a.passes(&answer) {
				kept = append(kept, answer)
			}
		}
	}
	return kept, tell, moved
}

// noteBegun notes that a watch has begun on a node, or was refused there. It
// returns how to tell it to who waits. It needs mu.
func (w *watching) noteBegun(rem *remote, a *awayWatch, answer *watch.Answer) (tell func()) {
	began, err := a.began, answer.Err
	a.began = nil
	switch {
	case answer.Canceled:
		delete(rem.watches, answer.WatchID)
	case rem.relay.Adopt(answer.WatchID):
		a.remote = rem
		if a.next == 0 {
			a.next = answer.Revision + 1
		}
	default: // its caller has left
		delete(rem.watches, answer.WatchID)
		w.workers.Go(func() { _ = rem.source.Cancel(answer.WatchID) })
	}
	return func() { began <- err }
}

// strand takes a watch off the node that served it. It needs mu.
func (w *watching) strand(a *awayWatch) {
	a.remote = nil
	w.limbo.Adopt(a.spec.ID)
}

// passes notes what an answer of a watch gives, and leaves out events that were
// given before the watch moved.
func (a *awayWatch) passes(answer *watch.Answer) bool {
	if answer.IsProgress() {
		a.asked = false
		a.next, a.given, a.ahead = max(a.next, answer.Revision+1), 0, 0
		return true
	}
	for len(answer.Events) > 0 && answer.Events[0].Revision == a.next && a.ahead > 0 {
		answer.Events = answer.Events[1:]
		a.ahead--
	}
	if !answer.Fragment {
		a.next, a.given, a.ahead = answer.Revision+1, 0, 0
		return len(answer.Events) > 0
	}
	if a.next != answer.Revision {
		a.next, a.given = answer.Revision, 0
	}
	for _, e := range answer.Events {
		if e.Revision == answer.Revision {
			a.given++
		}
	}
	return len(answer.Events) > 0
}

// lose moves the watches of a source that ended.
func (w *watching) lose(rem *remote, err error) {
	w.mu.Lock()
	rem.lost = err
	if w.remotes[rem.node] == rem {
		delete(w.remotes, rem.node)
	}
	var moved []*awayWatch
	for _, a := range rem.watches {
		switch {
		case a.began != nil:
			a.began <- &shards.UnreachableError{Node: rem.node, Cause: err}
			a.began = nil
		case a.canceled:
			w.strand(a)
			w.finish(a, nil)
		default:
			w.strand(a)
			moved = append(moved, a)
		}
	}
	clear(rem.watches)
	w.mu.Unlock()
	rem.relay.Lose()
	rem.source.Close()
	w.resume(moved)
}

// resume has watches that nobody serves served again, from where they were, in the
// background.
func (w *watching) resume(list []*awayWatch) {
	if len(list) == 0 || w.ctx.Err() != nil {
		return
	}
	for part := range slices.Chunk(list, max(1, (len(list)+resumersMax-1)/resumersMax)) {
		w.workers.Go(func() {
			ctx, cancel := context.WithTimeout(w.ctx, resumeMax)
			defer cancel()
			for _, a := range part {
				w.resumeOne(ctx, a)
			}
		})
	}
}

func (w *watching) resumeOne(ctx context.Context, a *awayWatch) {
	var err error
	for p, attempt := (pacer{}), 0; ; attempt++ {
		if err = w.begin(ctx, a, attempt); err == nil || !w.router.triesAgain(err) || !p.pause(ctx, true) {
			break
		}
	}
	w.mu.Lock()
	asked, rem := a.asked, a.remote
	if err != nil && !a.canceled {
		w.finish(a, err)
	}
	w.mu.Unlock()
	if err == nil && asked && rem != nil {
		_ = rem.source.Progress(a.spec.ID) // if it is lost again, so is this
	}
}
