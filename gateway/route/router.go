package route

import (
	"context"
	"iter"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// Local is the shards of this node: a *shards.Host.
type Local interface {
	Submit(shard shards.ShardID, call *shards.Call) error
	Propose(ctx context.Context, shard shards.ShardID, tenant tenancy.TenantID, command *internalv1.Command) (proto.Message, error)
	QueryBatch(ctx context.Context, shard shards.ShardID, batch *shards.QueryBatch) error
	Watches(shard shards.ShardID) (*watch.Hub, error)
	Watch(ctx context.Context, shard shards.ShardID, owner watch.Owner, spec watch.Spec) iter.Seq2[watch.Answer, error]
}

// RouterConfig is what a router reaches.
type RouterConfig struct {
	// NodeID is this node.
	NodeID string
	// Local is the shards of this node.
	Local Local
}

// A Router brings commands, queries and watches to the shards, wherever their
// replicas are.
type Router struct {
	cfg RouterConfig
}

// NewRouter makes a router.
func NewRouter(cfg RouterConfig) *Router { return &Router{cfg: cfg} }

// Submit hands a call to the leader of a shard. An error says that it was refused,
// and that Done will not be called.
func (r *Router) Submit(shard shards.ShardID, call *shards.Call) error {
	return r.cfg.Local.Submit(shard, call)
}

// Propose applies one command and waits for its answer.
func (r *Router) Propose(ctx context.Context, shard shards.ShardID, tenant tenancy.TenantID, command *internalv1.Command) (proto.Message, error) {
	return r.cfg.Local.Propose(ctx, shard, tenant, command)
}

// QueryBatch answers queries.
func (r *Router) QueryBatch(ctx context.Context, shard shards.ShardID, batch *shards.QueryBatch) error {
	return r.cfg.Local.QueryBatch(ctx, shard, batch)
}

// Query asks one query without bounds, for the platform itself.
func (r *Router) Query(ctx context.Context, shard shards.ShardID, ns tenancy.NamespaceID, c shards.Consistency, request proto.Message) (proto.Message, error) {
	return shards.Ask(ctx, r, shard, tenancy.SystemTenant, c, shards.Query{Namespace: ns, Request: request})
}

// Watches returns the watches of a shard.
func (r *Router) Watches(shard shards.ShardID) (*watch.Hub, error) { return r.cfg.Local.Watches(shard) }

// Watch gives the answers of one watch, for the platform itself: see watch.Follow.
func (r *Router) Watch(ctx context.Context, shard shards.ShardID, owner watch.Owner, spec watch.Spec) iter.Seq2[watch.Answer, error] {
	return r.cfg.Local.Watch(ctx, shard, owner, spec)
}
