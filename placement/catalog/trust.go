package catalog

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// How the catalog finds out whether its watch still shows everything. A watch
// may hang without an end: the replica that serves it can be cut off from the
// others.
const (
	// lookEvery is how often it asks which revision the system namespace has.
	lookEvery = 500 * time.Millisecond
	// lookTimeout is when a look that is not answered has failed. A change of the
	// system shard's leader takes about half as long.
	lookTimeout = 2 * time.Second
	// showWithin is how long the watch may take to show what a look has found. Then
	// memory is not used until it has.
	showWithin = 200 * time.Millisecond
	// hangsAfter is how long it may take until another watch takes its place. To
	// begin one costs more than to read for a moment.
	hangsAfter = time.Second
	// looksBehind bounds the looks that wait to be shown.
	looksBehind = 8
)

// trust is how far the memory of records may be believed.
//
// K2: while the system shard can be reached, a record in memory is used only
// for FreshFor after a moment at which the watch is known to have shown all that
// was committed until then, and not while it is known not to have shown in time
// what a look has found. While the system shard cannot be reached, what is in memory
// is the best there is.
//
// K3: while the system shard can be reached, what is revoked at one node has ended
// at all within 2 s, open streams included, though no watch may show it:
//
//	 500 ms  at most until the next look begins: one that is slow holds up no other (lookEvery)
//	 300 ms  for its answer, and for that of the read below; 200 ms of them pass where this
//	         node's replica is cut off, until another is asked (gateway/route)
//	 200 ms  until the watch should have shown it: from then on requests read (showWithin)
//	1000 ms  at most until an open stream asks whether its credential holds, and so reads
//
// A look that is slow or fails says nothing of the watch, and so has nobody read: where
// answers take longer, the bound is longer by as much, up to FreshFor.
type trust struct {
	freshFor time.Duration
	now      func() time.Time
	// start is what all moments count from.
	start time.Time

	// Every request asks whether an entry is usable, so that takes no lock.

	// unreachable tells that the last look failed.
	unreachable atomic.Bool
	// freshUntil is the moment until which entries are usable, as a time.Duration.
	freshUntil atomic.Int64

	// mu guards the rest.
	mu sync.Mutex
	// shown is the revision up to which the watch has shown everything; 0 while
	// there is none.
	shown uint64
	// confirmed is the last moment at which it is known to have shown everything;
	// negative while there is none.
	confirmed time.Duration
	// behind are the looks that the watch has not caught up with, in the order of
	// their answers.
	behind []look
	// reached is when the last look that was answered began; negative while there is
	// none.
	reached time.Duration
	// ended is when a watch was last ended because it hung.
	ended time.Duration
}

// look is one look at the system namespace: some time between asked and answered it had
// this revision.
type look struct {
	asked, answered time.Duration
	revision        uint64
}

// begin sets a trust up that has nothing yet to rest on.
func (t *trust) begin(freshFor time.Duration, now func() time.Time) {
	t.freshFor, t.now, t.start = freshFor, now, now()
	t.confirmed, t.reached, t.ended = -1, -1, -hangsAfter
	t.freshUntil.Store(-1)
}

// moment is the time since start.
func (t *trust) moment() time.Duration { return t.now().Sub(t.start) }

// usable tells whether an entry may be given out as it is.
func (t *trust) usable(f found) bool {
	if !f.known {
		return false
	}
	if !f.old && int64(t.moment()) <= t.freshUntil.Load() {
		return true
	}
	// That a record does not exist is not held for true any longer: a caller
	// can try again, but is misled by a wrong no.
	return t.unreachable.Load() && f.value != nil
}

// showed notes how far the watch is.
func (t *trust) showed(revision uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shown = revision
	t.settle()
}

// answered notes that a look that began at a moment found a revision. It tells
// whether the system shard could not be reached before.
func (t *trust) answered(asked time.Duration, revision uint64) (again bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := look{asked: asked, answered: t.moment(), revision: revision}
	if len(t.behind) == looksBehind {
		// The first of them is long overdue, so memory is not used, and will not be
		// before the watch has shown the last one.
		t.behind[looksBehind-1] = l
	} else {
		t.behind = append(t.behind, l)
	}
	t.settle()
	before := t.reached
	t.reached = max(t.reached, asked)
	return t.unreachable.Swap(false) && before >= 0
}

// failed notes that a look that began at a moment was not answered. It tells whether
// that is news: not if one that began later was answered, or none ever was, because a
// node that starts asks before there is anybody to answer.
func (t *trust) failed(asked time.Duration) (news bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return asked > t.reached && !t.unreachable.Swap(true) && t.reached >= 0
}

// settle needs mu.
func (t *trust) settle() {
	waiting := t.behind[:0]
	for _, l := range t.behind {
		if l.revision > t.shown {
			waiting = append(waiting, l)
		} else {
			t.confirmed = max(t.confirmed, l.asked)
		}
	}
	t.behind = waiting
	until := time.Duration(-1)
	if t.confirmed >= 0 {
		until = t.confirmed + t.freshFor
		if len(t.behind) > 0 {
			until = min(until, t.behind[0].answered+showWithin)
		}
	}
	t.freshUntil.Store(int64(until))
}

// hangs tells whether the watch has not shown for too long what it should have.
// Then the next one is given as long.
func (t *trust) hangs() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.moment()
	if len(t.behind) == 0 || now-max(t.behind[0].answered, t.ended) < hangsAfter {
		return false
	}
	t.ended = now
	return true
}

// confirm looks again and again whether the watch is behind, until ctx ends. One
// look does not wait for the answer of another.
func (c *Catalog) confirm(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	var looking sync.WaitGroup // lookTimeout / lookEvery of them at most
	defer looking.Wait()
	for {
		looking.Go(func() { c.look(ctx) })
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if c.trust.hangs() {
			c.endWatch()
		}
	}
}

func (c *Catalog) look(ctx context.Context) {
	asking, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	asked := c.trust.moment()
	response, err := query[*flotillav1.GetResponse](asking, c, &flotillav1.GetRequest{Key: []byte(clusterKey)})
	switch {
	case err == nil:
		if c.trust.answered(asked, response.GetRevision()) {
			c.log.Info("system shard is reached again")
		}
	case ctx.Err() == nil && c.trust.failed(asked):
		c.log.Warn("system shard cannot be reached, what is known of it stays in use", "err", err)
	}
}

// lookUp finds a record in memory, or loads it. A record that it returns may be
// as old as K2 allows.
func (c *Catalog) lookUp(ctx context.Context, key string, load func(context.Context) (any, error)) (any, error) {
	f := c.cache.get(key)
	if c.trust.usable(f) {
		return f.value, nil
	}
	value, err := load(ctx)
	if err == nil {
		c.cache.fill(key, value, f.generation)
		return value, nil
	}
	if f.known && f.value != nil {
		return f.value, nil // it cannot be reached, so K2 lets the old one be used
	}
	return nil, err
}
