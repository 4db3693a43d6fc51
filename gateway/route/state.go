package route

import (
	"context"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// Place finds where a namespace of the caller's tenant lives.
func (kv *KV) Place(ctx context.Context, namespace string) (catalog.Route, error) {
	principal, ok := tenancy.FromContext(ctx)
	if !ok {
		return catalog.Route{}, tenancy.ErrUnauthenticated
	}
	return kv.catalog.Route(ctx, principal.Tenant, namespace)
}

// State reads the counters of a namespace of the caller's tenant: its
// revisions and how much it holds.
func (kv *KV) State(ctx context.Context, namespace string, c shards.Consistency) (mvcc.State, error) {
	var state mvcc.State
	place, err := kv.Place(ctx, namespace)
	if err != nil {
		return state, err
	}
	err = kv.host.Read(ctx, place.Shard, c, func(v *shards.View) error {
		var err error
		_, state, err = v.Namespace(place.Namespace)
		return err
	})
	return state, err
}
