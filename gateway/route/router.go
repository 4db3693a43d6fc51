package route

import (
	"context"
	"errors"
	"iter"
	"time"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// Local is the shards of this node: a *shards.Host.
type Local interface {
	Submit(shard shards.ShardID, call *shards.Call) error
	QueryBatch(ctx context.Context, shard shards.ShardID, batch *shards.QueryBatch) error
	Watches(shard shards.ShardID) (*watch.Hub, error)
	Current(ctx context.Context, shard shards.ShardID) error
	HasReplica(shard shards.ShardID) bool
	Leader(shard shards.ShardID) (node string, term uint64)
	Leads(shard shards.ShardID) bool
}

// Remote is the shards of other nodes: a *peer.Pool. What it does not send fails
// with *shards.UnreachableError.
type Remote interface {
	Submit(node string, shard shards.ShardID, call *shards.Call) error
	QueryBatch(ctx context.Context, node string, shard shards.ShardID, batch *shards.QueryBatch) error
	OpenWatches(ctx context.Context, node string, owner watch.Owner, progress time.Duration) (shards.WatchSource, error)
}

// Directory tells where replicas are. It may lag: those who are asked know better.
type Directory interface {
	// Hosts are the nodes that have a replica of a shard and can serve, the best
	// to ask first.
	Hosts(shard shards.ShardID) []string
}

// RouterConfig is what a router reaches.
type RouterConfig struct {
	// NodeID is this node.
	NodeID string
	// Local is the shards of this node; nil for a node that hosts none.
	Local Local
	// Remote and Directory are other nodes, and what they have; nil for a node that
	// is alone.
	Remote    Remote
	Directory Directory
	// Level is the cluster's feature level as this node knows it: nodes of a lower
	// one may be among those that are asked, though not for long once it says
	// more. Default: this version's.
	Level func() uint32
}

// A Router brings commands, queries and watches to the shards, wherever their
// replicas are. Commands go to the shard's leader: the replica on this node knows
// who that is, and those who are asked in error say it. Queries are answered by the
// replica on this node if there is one.
//
// It tries again by itself, within the caller's time, what surely was not applied;
// what may have been applied only if applying it twice is the same as once. It
// holds nothing that others wait for meanwhile, so a shard without a leader holds
// up nobody else's. Safe for concurrent use.
type Router struct {
	cfg     RouterConfig
	leaders leaders
	// accounts are of the watches that other nodes serve.
	accounts watch.Accounts
}

// NewRouter makes a router.
func NewRouter(cfg RouterConfig) *Router {
	if cfg.Local == nil {
		cfg.Local = shards.None{}
	}
	if cfg.Level == nil {
		cfg.Level = func() uint32 { return machine.Level }
	}
	return &Router{cfg: cfg}
}

// timeoutDefault is how long a request without a deadline may take.
const timeoutDefault = 10 * time.Second

// withDeadline gives ctx a deadline if it has none.
func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, timeoutDefault)
}

// submit hands a call to the shard on a node, once. An error says that it was
// refused, and that Done will not be called.
func (r *Router) submit(node string, shard shards.ShardID, call *shards.Call) error {
	switch node {
	case r.cfg.NodeID:
		return r.cfg.Local.Submit(shard, call)
	case "":
		return &shards.NotLeaderError{Shard: shard}
	default:
		return r.cfg.Remote.Submit(node, shard, call)
	}
}

// Propose applies one command and waits for its answer. It is tried again while
// there is time: after an unknown outcome only if it is repeatable.
func (r *Router) Propose(ctx context.Context, shard shards.ShardID, tenant tenancy.TenantID, command *internalv1.Command) (proto.Message, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	p := pacer{}
	weight := weightOf(ctx, tenant)
	var unknown error // of an attempt that may have been applied
	for {
		node := r.target(shard)
		response, err := shards.Await(ctx, tenant, command, func(c *shards.Call) error {
			c.Weight = weight
			return r.submit(node, shard, c)
		})
		if isUnknown(err) {
			unknown = err
		}
		switch {
		case err == nil:
			return response, nil
		case !r.mayRepeat(command, err):
			return nil, conclude(err, unknown)
		}
		moved := r.refused(shard, node, err)
		if !p.pause(ctx, moved && !isUnknown(err)) {
			return nil, conclude(err, unknown)
		}
	}
}

// weightOf is the weight of the tenant if the caller is of it, 0 for not known.
func weightOf(ctx context.Context, tenant tenancy.TenantID) int {
	principal, ok := tenancy.FromContext(ctx)
	if !ok || principal.Tenant != tenant {
		return 0
	}
	return max(principal.Weight, 1)
}

// QueryBatch has queries answered, by this node's replica if it has one that is
// current, and tries again while there is time.
func (r *Router) QueryBatch(ctx context.Context, shard shards.ShardID, batch *shards.QueryBatch) error {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	p := pacer{}
	for here := true; ; here = !here { // after an attempt here comes one elsewhere
		var node string
		var err error
		if here = here && r.asksLocal(shard, batch.Consistency) || r.cfg.Remote == nil; here {
			err = r.queryLocal(ctx, shard, batch)
		} else {
			node = r.target(shard)
			err = r.queryRemote(ctx, node, shard, batch)
		}
		if err == nil || !r.triesAgain(err) {
			return err
		}
		var follow bool
		if here {
			follow = r.lags(shard)
		} else {
			follow = r.refused(shard, node, err)
		}
		if !p.pause(ctx, follow) {
			return err
		}
	}
}

// asksLocal tells whether queries go to this node's replica.
func (r *Router) asksLocal(shard shards.ShardID, c shards.Consistency) bool {
	switch {
	case r.cfg.Remote == nil:
		return true
	case !r.cfg.Local.HasReplica(shard):
		return false
	default:
		return c == shards.Serializable || !r.leaders.lagging(shard)
	}
}

// lags notes that this node's replica is not current. It tells whether another one
// can be asked.
func (r *Router) lags(shard shards.ShardID) bool {
	if r.cfg.Remote == nil {
		return false
	}
	r.leaders.lag(shard)
	return true
}

// mayRepeat tells whether a command may be tried again after an error.
func (r *Router) mayRepeat(command *internalv1.Command, err error) bool {
	if isUnknown(err) {
		return r.cfg.Remote != nil && repeatable(command)
	}
	return r.triesAgain(err)
}

// triesAgain tells whether an attempt surely changed nothing, and another one may
// do better.
func (r *Router) triesAgain(err error) bool {
	if r.cfg.Remote == nil && errors.Is(err, shards.ErrStopping) {
		return false // there is nobody else
	}
	if refused, ok := errors.AsType[*shards.LevelError](err); ok {
		return refused.Needs <= r.cfg.Level() // the node will know it in a moment
	}
	return notApplied(err)
}

const (
	// currentMax is how long this node's replica may take to become current before
	// another one is asked.
	currentMax = time.Second
	// currentMaxSystem is that of the system shard: what is revoked must be known in
	// time also where this node's replica is cut off (K3 of the catalog).
	currentMaxSystem = 200 * time.Millisecond
)

// currentWithin is how long this node's replica of a shard may take to become
// current.
func currentWithin(shard shards.ShardID) time.Duration {
	if shard == shards.SystemShard {
		return currentMaxSystem
	}
	return currentMax
}

// queryLocal asks this node's replica, once.
func (r *Router) queryLocal(ctx context.Context, shard shards.ShardID, batch *shards.QueryBatch) error {
	if r.cfg.Remote == nil { // nobody else could be asked
		return r.cfg.Local.QueryBatch(ctx, shard, batch)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	giveUp := func() { cancel(&shards.NotLeaderError{Shard: shard}) }
	late := time.AfterFunc(currentWithin(shard), giveUp)
	defer late.Stop()
	begin := batch.Begin
	batch.Begin = func(ctx context.Context) (func(), error) {
		if !late.Stop() {
			giveUp() // the timer is about to, or has
			return nil, context.Cause(ctx)
		}
		if begin == nil {
			return func() {}, nil
		}
		return begin(ctx)
	}
	defer func() { batch.Begin = begin }()
	return r.cfg.Local.QueryBatch(ctx, shard, batch)
}

// queryRemote asks the replica on another node, once.
func (r *Router) queryRemote(ctx context.Context, node string, shard shards.ShardID, batch *shards.QueryBatch) error {
	if node == "" || node == r.cfg.NodeID {
		return &shards.NotLeaderError{Shard: shard}
	}
	return r.cfg.Remote.QueryBatch(ctx, node, shard, batch)
}

// Query asks one query without bounds, for the platform itself. The answer of a
// large range may be cut all the same: then it says `more`.
func (r *Router) Query(ctx context.Context, shard shards.ShardID, ns tenancy.NamespaceID, c shards.Consistency, request proto.Message) (proto.Message, error) {
	return shards.Ask(ctx, r, shard, tenancy.SystemTenant, c, shards.Query{Namespace: ns, Request: request})
}

// Watch gives the answers of one watch, for the platform itself, until it ends with
// an error: see watch.Follow. Breaking the loop ends it.
func (r *Router) Watch(ctx context.Context, shard shards.ShardID, owner watch.Owner, spec watch.Spec) iter.Seq2[watch.Answer, error] {
	return func(yield func(watch.Answer, error) bool) {
		w := r.newWatching(ctx, watch.StreamConfig{})
		defer w.close()
		if err := w.create(ctx, shard, owner, spec); err != nil {
			yield(watch.Answer{}, err)
			return
		}
		watch.Follow(ctx, w.next)(yield)
	}
}
