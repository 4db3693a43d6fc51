package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/placement/catalog"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// Catalog finds namespaces.
type Catalog interface {
	Route(ctx context.Context, tenant tenancy.TenantID, name string) (catalog.Route, error)
	// Forget has the next Route find the namespace anew.
	Forget(tenant tenancy.TenantID, name string)
}

// KV serves the key space of all tenants. The principal is taken from the
// context of each call. Requests become its own: their `namespace` is cleared.
type KV struct {
	router   *Router
	catalog  Catalog
	meter    *meter.Meter
	renewals renewals
}

// NewKV makes a KV that admits everything and counts nothing.
func NewKV(router *Router, catalog Catalog) *KV { return NewMeteredKV(router, catalog, nil) }

// NewMeteredKV makes a KV whose operations are admitted and counted by a meter.
func NewMeteredKV(router *Router, catalog Catalog, m *meter.Meter) *KV {
	return &KV{router: router, catalog: catalog, meter: m}
}

// Meter is what admits and counts; nil if nothing does.
func (kv *KV) Meter() *meter.Meter { return kv.meter }

// Request is a request to one namespace.
type Request interface {
	proto.Message
	GetNamespace() string
}

// Do runs one request and returns its response, which has type A.
func Do[A proto.Message](ctx context.Context, kv *KV, req Request) (A, error) {
	response, err := kv.do(ctx, req)
	return as[A](response, err)
}

// as is an answer whose type is known.
func as[A proto.Message](response proto.Message, err error) (A, error) {
	answer, ok := response.(A)
	if err == nil && !ok {
		err = fmt.Errorf("an answer is a %T, and not a %T", response, answer)
	}
	return answer, err
}

func (kv *KV) do(ctx context.Context, req Request) (proto.Message, error) {
	return kv.doCounted(ctx, req, 1)
}

// doCounted runs a request that counts as so many.
func (kv *KV) doCounted(ctx context.Context, req Request, requests int) (proto.Message, error) {
	a, err := kv.admit(ctx, req, requests)
	if err != nil {
		return nil, err
	}
	response, err := kv.perform(ctx, &a)
	a.answered(response, err)
	return response, err
}

// perform runs an admitted request, and finds its route anew as often as need be.
func (kv *KV) perform(ctx context.Context, a *admitted) (proto.Message, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	for p := (pacer{}); ; {
		response, err := kv.run(ctx, a)
		if _, old := errors.AsType[*machine.WrongEpochError](err); !old {
			return response, err
		}
		changed, routeErr := kv.reroute(ctx, a)
		if routeErr != nil || !p.pause(ctx, changed) {
			return nil, cmp.Or(routeErr, err)
		}
	}
}

// run runs an admitted request where its route says.
func (kv *KV) run(ctx context.Context, a *admitted) (proto.Message, error) {
	if keepAlive, ok := a.request.(*flotillav1.KeepAliveRequest); ok {
		return kv.keepAlive(ctx, a, keepAlive)
	}
	if a.command != nil {
		return kv.router.Propose(ctx, a.route.Shard, a.tenant, a.command)
	}
	return shards.Ask(ctx, kv.router, a.route.Shard, a.tenant, a.consistency, a.query())
}

// reroute finds the route anew after the shard refused it as old, which changed
// nothing. It tells whether there is another.
func (kv *KV) reroute(ctx context.Context, a *admitted) (changed bool, err error) {
	kv.catalog.Forget(a.tenant, a.namespace)
	before := a.route
	if a.route, err = kv.catalog.Route(ctx, a.tenant, a.namespace); err != nil {
		return false, err
	}
	a.address()
	return a.route != before, nil
}

// query is an admitted read as its shard understands it.
func (a *admitted) query() shards.Query {
	return shards.Query{
		Namespace: a.route.Namespace, Request: a.request, KeysMax: a.limits.RangeKeysMax, BytesMax: a.limits.RequestBytesMax,
	}
}

// RangeStream reads a range of any size at one revision, part by part.
func (kv *KV) RangeStream(ctx context.Context, req *flotillav1.RangeRequest, send func(*flotillav1.RangeResponse) error) error {
	if req.GetCountOnly() || req.GetSortTarget() > flotillav1.SortTarget_SORT_TARGET_KEY {
		return &mvcc.InvalidError{Field: "range", Message: "a streamed range is ordered by key and has keys: use Range to count or to sort"}
	}
	return kv.Pages(ctx, req, send)
}

// Pages reads a range in key order, or counts it, at one revision: page by
// page until the range or its limit ends. The request is changed. A compaction
// may drop the revision between two pages, which ends them with
// *mvcc.CompactedError. All of them are one request; after the first they come no
// faster than the tenant's bytes.
func (kv *KV) Pages(ctx context.Context, req *flotillav1.RangeRequest, send func(*flotillav1.RangeResponse) error) error {
	ctx, _ = meter.WithCall(ctx)
	for first := true; ; first = false {
		if !first {
			if err := kv.pace(ctx); err != nil {
				return err
			}
		}
		response, err := Do[*flotillav1.RangeResponse](ctx, kv, proto.CloneOf(req))
		if err != nil {
			return err
		}
		if err := send(response); err != nil || !response.GetMore() {
			return err
		}
		if req.GetLimit() != 0 {
			req.Limit -= uint64(len(response.GetKvs()))
			if req.GetLimit() == 0 {
				return nil
			}
		}
		continueAt(req, response.GetNextKey(), response.GetReadRevision())
	}
}

// pace waits until the caller's tenant owes no bytes.
func (kv *KV) pace(ctx context.Context) error {
	principal, ok := tenancy.FromContext(ctx)
	if !ok {
		return tenancy.ErrUnauthenticated
	}
	return kv.meter.Pace(ctx, principal)
}

// continueAt moves a range on to what is left of it, at the revision of its
// first part.
func continueAt(req *flotillav1.RangeRequest, next []byte, revision uint64) {
	if req.GetKeys() == nil {
		req.Keys = &flotillav1.KeyRange{}
	}
	if req.GetDescending() {
		req.Keys.End = next
	} else {
		req.Keys.Start = next
	}
	req.Revision = revision
	req.CountTotal = false // the first part counted
}
