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
// others. FreshFor is longer than a look takes at worst, so that a change of
// the system shard's leader makes nobody wait.
const (
	confirmEvery   = time.Second
	confirmTimeout = 2 * time.Second
	// hangsAfter is how long the watch may take to show what was committed before
	// a look. Then another one takes its place.
	hangsAfter = 1500 * time.Millisecond
)

// trust is how far the memory of records may be believed.
//
// K2: while the system shard can be reached, a record in memory is used only
// for FreshFor after a moment at which the watch is known to have shown all that
// was committed until then. While it cannot be reached, what is in memory is the
// best there is.
type trust struct {
	freshFor time.Duration
	now      func() time.Time
	// start is what freshUntil counts from.
	start time.Time

	// Every request asks whether an entry is usable, so that takes no lock.

	// unreachable tells that the last look failed.
	unreachable atomic.Bool
	// freshUntil is freshFor after a moment at which the watch had shown
	// everything, as a time.Duration since start.
	freshUntil atomic.Int64

	// mu guards the rest.
	mu sync.Mutex
	// shown is the revision up to which the watch has shown everything; 0 while
	// there is none.
	shown uint64
	// asked and wanted are a look that the watch has not caught up with: at
	// asked the namespace was at revision wanted, which is 0 when there is none.
	asked  time.Time
	wanted uint64
}

// begin sets a trust up that has nothing yet to rest on.
func (t *trust) begin(freshFor time.Duration, now func() time.Time) {
	t.freshFor, t.now, t.start = freshFor, now, now()
	t.freshUntil.Store(-1)
}

// usable tells whether an entry may be given out as it is.
func (t *trust) usable(f found) bool {
	if !f.known {
		return false
	}
	if !f.old && int64(t.now().Sub(t.start)) <= t.freshUntil.Load() {
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

// looked notes that at a moment the namespace was at a revision. A look that the
// watch has not caught up with stays: newer ones would keep it from ever being
// settled.
func (t *trust) looked(at time.Time, revision uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wanted == 0 {
		t.asked, t.wanted = at, revision
	}
	t.settle()
}

// reach notes whether the system shard can be reached, and returns whether that
// is new.
func (t *trust) reach(reachable bool) bool {
	return t.unreachable.Swap(!reachable) == reachable
}

// hangs tells whether the watch has not shown for too long what it should have.
// Then it is given as long again.
func (t *trust) hangs() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wanted == 0 || t.now().Sub(t.asked) < hangsAfter {
		return false
	}
	// Something newer may be committed by now, so to confirm this moment would be
	// wrong: the next look says what is wanted.
	t.wanted = 0
	return true
}

// settle needs mu.
func (t *trust) settle() {
	if t.wanted != 0 && t.shown >= t.wanted {
		t.freshUntil.Store(int64(t.asked.Sub(t.start) + t.freshFor))
		t.wanted = 0
	}
}

// confirm looks again and again whether the watch is behind, until ctx ends.
func (c *Catalog) confirm(ctx context.Context) {
	ticker := time.NewTicker(confirmEvery)
	defer ticker.Stop()
	for {
		c.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (c *Catalog) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	at := c.now()
	response, err := query[*flotillav1.GetResponse](ctx, c, &flotillav1.GetRequest{Key: []byte(clusterKey)})
	if err == nil {
		c.trust.looked(at, response.GetRevision())
		if c.trust.hangs() {
			c.endWatch()
		}
	}
	if !c.trust.reach(err == nil) || ctx.Err() == context.Canceled {
		return
	}
	if err != nil {
		c.log.Warn("system shard cannot be reached, what is known of it stays in use", "err", err)
		return
	}
	c.log.Info("system shard is reached again")
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
