package route

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/placement/catalog"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// Host is what the gateway needs of the node's shards.
type Host interface {
	Submit(shard shards.ShardID, call *shards.Call) error
	Propose(ctx context.Context, shard shards.ShardID, tenant tenancy.TenantID, command *internalv1.Command) (proto.Message, error)
	Read(ctx context.Context, shard shards.ShardID, c shards.Consistency, read func(*shards.View) error) error
	Watches(shard shards.ShardID) (*watch.Hub, error)
}

// Catalog finds namespaces.
type Catalog interface {
	Route(ctx context.Context, tenant tenancy.TenantID, name string) (catalog.Route, error)
}

// KV serves the key space of all tenants. The principal is taken from the
// context of each call. Requests become its own: their `namespace` is cleared.
type KV struct {
	host     Host
	catalog  Catalog
	renewals renewals
}

// NewKV makes a KV.
func NewKV(host Host, catalog Catalog) *KV { return &KV{host: host, catalog: catalog} }

// Request is a request to one namespace.
type Request interface {
	proto.Message
	GetNamespace() string
}

// Do runs one request and returns its response, which has type A.
func Do[A proto.Message](ctx context.Context, kv *KV, req Request) (A, error) {
	response, err := kv.do(ctx, req)
	if err != nil {
		var none A
		return none, err
	}
	answer, ok := response.(A)
	if !ok {
		return answer, fmt.Errorf("the answer to %T is a %T", req, response)
	}
	return answer, nil
}

func (kv *KV) do(ctx context.Context, req Request) (proto.Message, error) {
	a, err := kv.admit(ctx, req)
	if err != nil {
		return nil, err
	}
	if keepAlive, ok := req.(*flotillav1.KeepAliveRequest); ok {
		return kv.keepAlive(ctx, a, keepAlive)
	}
	if a.command != nil {
		return kv.host.Propose(ctx, a.route.Shard, a.tenant, a.command)
	}
	var response proto.Message
	err = kv.host.Read(ctx, a.route.Shard, a.consistency, func(v *shards.View) error {
		var err error
		response, err = kv.read(ctx, v, a)
		return err
	})
	return response, err
}

// read answers an admitted read from a shard's state.
func (kv *KV) read(ctx context.Context, v *shards.View, a admitted) (proto.Message, error) {
	space, state, err := v.Namespace(a.route.Namespace)
	if err != nil {
		return nil, err
	}
	switch req := a.request.(type) {
	case *flotillav1.GetRequest:
		return mvcc.Get(space, &state, req)
	case *flotillav1.RangeRequest:
		return mvcc.Range(space, &state, req, mvcc.ReadLimits{
			KeysMax: a.limits.RangeKeysMax, BytesMax: a.limits.RequestBytesMax, Interrupted: ctx.Err,
		})
	case *flotillav1.GetLeaseRequest:
		return getLease(v, a, req, &state)
	case *flotillav1.ListLeasesRequest:
		return listLeases(v, a, req, &state)
	case *flotillav1.TxnRequest:
		return mvcc.ReadTxn(space, &state, ctx.Err, req)
	default:
		return nil, fmt.Errorf("%T is not a read", a.request)
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
// *mvcc.CompactedError.
func (kv *KV) Pages(ctx context.Context, req *flotillav1.RangeRequest, send func(*flotillav1.RangeResponse) error) error {
	for {
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
