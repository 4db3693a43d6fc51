package route

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

// A watching is the watches of one caller, wherever they are served: by this
// node's replicas, or by other nodes, whose answers relays bring to the same
// stream. A watch that another node served until it was lost goes on elsewhere by
// itself, from where it was: its caller notices nothing.
type watching struct {
	router *Router
	stream *watch.Stream
	// progress is watch.StreamConfig.ProgressInterval.
	progress time.Duration
	// ctx is that of all that runs for the watches.
	ctx    context.Context //nolint:containedctx // the watches' own life
	cancel context.CancelFunc

	// mu comes before the stream's own.
	mu sync.Mutex
	// remotes are the open sources, by node.
	remotes map[string]*remote
	// limbo has the watches that nobody serves yet; nil until there is one.
	limbo *watch.Relay
	// away are the watches that other nodes serve, or are to, by id.
	away map[int64]*awayWatch
	// owners are those of the namespaces that this node's replicas have.
	owners  map[tenancy.NamespaceID]awayFrom
	workers sync.WaitGroup
}

// awayFrom is whose a namespace's watches are, and where it is.
type awayFrom struct {
	shard shards.ShardID
	owner watch.Owner
}

// awayWatch is one watch that another node serves, or is to.
type awayWatch struct {
	awayFrom
	// spec says what it shows; its id is set.
	spec watch.Spec
	// remote is who serves it; nil while it moves.
	remote *remote
	// began gets the first answer while somebody waits for it; then it is nil.
	began chan error
	// resumed is set when its caller knows already that it has begun.
	resumed bool
	// next is the revision to go on from. Of its events the first ones were given
	// already, so many as given says; ahead is how many of these are yet to come
	// once more.
	next         mvcc.Revision
	given, ahead int
	// asked is set when its caller wants to know how far it came.
	asked bool
	// canceled is set when its caller wants it no more.
	canceled bool
}

// newWatching makes a stream of watches, which must be closed.
func (r *Router) newWatching(ctx context.Context, cfg watch.StreamConfig) *watching {
	w := &watching{
		router: r, stream: watch.NewStream(cfg), progress: cfg.ProgressInterval,
		remotes: make(map[string]*remote), away: make(map[int64]*awayWatch), owners: make(map[tenancy.NamespaceID]awayFrom),
	}
	w.ctx, w.cancel = context.WithCancel(ctx)
	return w
}

// close frees the watches. Nobody may call next any more.
func (w *watching) close() {
	w.cancel()
	w.stream.Close()
	w.mu.Lock()
	for _, rem := range w.remotes {
		rem.source.Close()
	}
	w.mu.Unlock()
	w.workers.Wait()
}

// create begins a watch where it can be served, and tries again while there is
// time.
func (w *watching) create(ctx context.Context, shard shards.ShardID, owner watch.Owner, spec watch.Spec) error {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	from := awayFrom{shard: shard, owner: owner}
	var away *awayWatch
	for p, attempt := (pacer{}), rand.N(serversMax); ; attempt++ { //nolint:gosec // spreads load, guards nothing
		var err error
		follow := true
		if away == nil && w.router.asksLocal(shard, shards.Linearizable) {
			if err = w.createHere(ctx, from, spec); err != nil && notApplied(err) {
				follow = w.router.lags(shard)
			}
		} else {
			if away == nil {
				if away, err = w.take(from, spec); err != nil {
					return err
				}
			}
			err = w.begin(ctx, away, attempt)
		}
		if err == nil {
			return nil
		}
		if !w.router.triesAgain(err) || !p.pause(ctx, follow) {
			w.drop(away)
			return err
		}
	}
}

// createHere begins a watch on this node's replica. One that does not lead catches
// up before: else the watch could show what was acknowledged before it began, or
// be told of a revision below one that its caller has seen.
func (w *watching) createHere(ctx context.Context, from awayFrom, spec watch.Spec) error {
	local := w.router.cfg.Local
	hub, err := local.Watches(from.shard)
	if err != nil {
		return err
	}
	if w.router.cfg.Remote != nil && !local.Leads(from.shard) {
		ctx, cancel := context.WithTimeoutCause(ctx, currentWithin(from.shard), &shards.NotLeaderError{Shard: from.shard})
		defer cancel()
		if err := local.Current(ctx, from.shard); err != nil {
			return err
		}
	}
	w.mu.Lock()
	w.owners[from.owner.Namespace] = from
	w.mu.Unlock()
	return w.stream.Create(hub, from.owner, spec)
}

// take gives a watch that is to be served elsewhere its id.
func (w *watching) take(from awayFrom, spec watch.Spec) (*awayWatch, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.limbo == nil {
		var err error
		if w.limbo, err = w.stream.NewRelay(&w.router.accounts, from.owner, nil); err != nil {
			return nil, err
		}
	}
	id, err := w.limbo.Take(&spec)
	if err != nil {
		return nil, err
	}
	spec.ID, spec.Numbered = id, true
	a := &awayWatch{awayFrom: from, spec: spec, next: spec.From}
	w.away[id] = a
	return a, nil
}

// drop gives up a watch that did not begin, nil for none.
func (w *watching) drop(a *awayWatch) {
	if a == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.away, a.spec.ID)
	w.limbo.Free(a.spec.ID)
}

// stop ends a watch at its caller's wish.
func (w *watching) stop(id int64) {
	w.mu.Lock()
	a := w.away[id]
	if a == nil {
		w.mu.Unlock()
		w.stream.Cancel(id)
		return
	}
	a.canceled = true
	rem := a.remote
	if rem == nil { // it moves: nobody else will answer
		w.finish(a, nil)
	}
	w.mu.Unlock()
	if rem != nil {
		_ = rem.source.Cancel(id) // if it is lost, so is the watch
	}
}

// finish ends a watch that nobody serves. It needs mu.
func (w *watching) finish(a *awayWatch, err error) {
	delete(w.away, a.spec.ID)
	w.limbo.Finish(a.spec.ID, a.next, err)
}

// tell has a watch tell how far it came.
func (w *watching) tell(id int64) {
	w.mu.Lock()
	a := w.away[id]
	if a == nil {
		w.mu.Unlock()
		w.stream.Progress(id)
		return
	}
	a.asked = true
	rem := a.remote
	w.mu.Unlock()
	if rem != nil {
		_ = rem.source.Progress(id) // if it is lost, it is asked for again
	}
}

// next waits for answers and appends them to dst. Watches that this node's replicas
// can serve no more go on elsewhere.
func (w *watching) next(ctx context.Context, dst []watch.Answer) ([]watch.Answer, error) {
	had := len(dst)
	for {
		dst, err := w.stream.Next(ctx, dst)
		if w.router.cfg.Remote == nil {
			return dst, err
		}
		kept := dst[:had]
		for _, a := range dst[had:] {
			if !w.leaves(&a) {
				kept = append(kept, a)
			}
		}
		clear(dst[len(kept):])
		if err != nil || len(kept) > had {
			return kept, err
		}
	}
}

// leaves moves a watch elsewhere whose replica is no longer here, or has no leader.
func (w *watching) leaves(a *watch.Answer) bool {
	if a.Lost == nil || !notApplied(a.Err) || errors.Is(a.Err, shards.ErrStopping) {
		return false
	}
	w.mu.Lock()
	from, ok := w.owners[a.Lost.Namespace]
	w.mu.Unlock()
	if !ok {
		return false
	}
	spec := a.Lost.Spec
	spec.Numbered = true
	moved, err := w.take(from, spec)
	if err != nil {
		return false
	}
	moved.resumed = true
	w.resume([]*awayWatch{moved})
	return true
}
