package route

import (
	"context"

	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/placement/catalog"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
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
	principal, ok := tenancy.FromContext(ctx)
	if !ok {
		return mvcc.State{}, tenancy.ErrUnauthenticated
	}
	counted, err := kv.meter.Admit(ctx, principal, 1, 0)
	if err != nil {
		return mvcc.State{}, err
	}
	place, err := kv.catalog.Route(ctx, principal.Tenant, namespace)
	if err != nil {
		return mvcc.State{}, err
	}
	query := shards.Query{Namespace: place.Namespace, Request: &internalv1.NamespaceStateRequest{}}
	response, err := shards.Ask(ctx, kv.router, place.Shard, principal.Tenant, c, query)
	record, err := as[*internalv1.NamespaceState](response, err)
	if err != nil {
		return mvcc.State{}, err
	}
	counted.Answered(meter.Cost{ReadUnits: 1})
	return machine.StateOf(record), nil
}
