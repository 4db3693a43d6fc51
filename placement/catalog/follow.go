package catalog

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// How long the catalog waits until it watches again, at first and at most.
const (
	followAgainMin = 10 * time.Millisecond
	followAgainMax = time.Second
)

// Run keeps the cache and the directory true, whoever changes the records, until
// ctx ends. No error of the system shard ends it.
func (c *Catalog) Run(ctx context.Context) error {
	var confirming sync.WaitGroup
	confirming.Go(func() { c.confirm(ctx) })
	f := follower{catalog: c}
	wait := followAgainMin
	for ctx.Err() == nil {
		begun := f.begun
		err := f.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		if f.begun != begun {
			wait = followAgainMin
			c.log.Info("watch of the catalog ended, it begins again", "err", err)
		}
		// Not all nodes are to come at once.
		pause(ctx, wait/2+rand.N(wait)) //nolint:gosec // chance, not secrecy
		wait = min(2*wait, followAgainMax/2)
	}
	confirming.Wait()
	return nil //nolint:nilerr // it was to end
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// follower is the watch of a catalog over its ends and beginnings.
type follower struct {
	catalog *Catalog
	// begun counts the watches that began.
	begun int
	// next is the revision to go on from; 0 when changes were or will be missed.
	next mvcc.Revision
	// loaded tells that the directory was read since changes were missed.
	loaded bool
}

var (
	// errEnded says that a watch ended without a word.
	errEnded = errors.New("the watch ended")
	// errHangs says that a watch did not show what was committed. The replica that
	// gave it may be cut off from its group, or not belong to it any more.
	errHangs = errors.New("the watch does not show what has changed")
)

// endWatch ends the present watch, which hangs.
func (c *Catalog) endWatch() {
	c.watching.Lock()
	defer c.watching.Unlock()
	c.stop(errHangs)
}

// loadDirectory reads the directory as it is.
func (c *Catalog) loadDirectory(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	records, err := c.Records(ctx)
	if err != nil {
		return err
	}
	c.directory.Seed(records.Directory)
	return nil
}

// follow watches the system namespace until the watch ends, and returns why.
func (f *follower) follow(ctx context.Context) error {
	watching, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	f.catalog.watching.Lock()
	f.catalog.stop = stop
	f.catalog.watching.Unlock()
	owner := watch.Owner{Tenant: tenancy.SystemTenant, Namespace: tenancy.SystemNamespace}
	for answer, err := range f.catalog.host.Watch(watching, shards.SystemShard, owner, watch.Spec{From: f.next}) {
		if err == nil {
			err = f.take(ctx, &answer)
		}
		if errors.As(err, new(*mvcc.CompactedError)) {
			f.next = 0 // what is gone cannot be shown any more
		}
		if errors.Is(context.Cause(watching), errHangs) {
			// The next may be given by the same replica, and hang too. Who acts on
			// the directory may then be what keeps it from being dropped.
			f.loaded = false
			return errHangs
		}
		if err != nil {
			return err
		}
	}
	return errEnded
}

// take does what an answer of the watch asks for.
func (f *follower) take(ctx context.Context, a *watch.Answer) error {
	c := f.catalog
	if a.Created {
		if f.next == 0 {
			c.cache.missed()
			f.next, f.loaded = a.Revision+1, false
		}
		if !f.loaded {
			if err := c.loadDirectory(ctx); err != nil {
				return err
			}
			f.loaded = true
		}
		f.begun++
	}
	if len(a.Events) > 0 {
		keys := make([]string, len(a.Events))
		for i, e := range a.Events {
			keys[i] = string(e.Key)
		}
		c.cache.drop(keys)
		if err := c.directory.apply(a.Events, uint64(a.Revision)); err != nil {
			// It is left out: to end the watch for it would keep all others back.
			c.log.Error("catalog record cannot be read", "err", err)
		}
	}
	// A watch that goes on from where another was may be given by a replica that
	// is not so far yet.
	f.next = max(f.next, a.Revision+1)
	c.trust.showed(uint64(f.next - 1))
	return nil
}
