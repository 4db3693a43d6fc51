package route

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/placement/catalog"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// admitted is a request that may be run, and where.
type admitted struct {
	tenant    tenancy.TenantID
	weight    int
	namespace string
	limits    *tenancy.Limits
	route     catalog.Route
	request   Request
	// command is set for a mutation, consistency holds for a read.
	command     *internalv1.Command
	consistency shards.Consistency
	// counted is the operation as it is counted.
	counted meter.Operation
}

// answered counts what the request has cost.
func (a *admitted) answered(response proto.Message, err error) {
	if a.counted.Tenant() != nil {
		a.counted.Answered(meter.CostOf(a.request, response, err))
	}
}

// admit lets a request in that counts as so many, checks it and finds its shard.
// What it refuses was not applied.
func (kv *KV) admit(ctx context.Context, req Request, requests int) (admitted, error) {
	principal, ok := tenancy.FromContext(ctx)
	if !ok {
		return admitted{}, tenancy.ErrUnauthenticated
	}
	counted, err := kv.meter.Admit(ctx, principal, requests, meter.RequestBytes(req))
	if err != nil {
		return admitted{}, err
	}
	return kv.prepare(ctx, principal, req, counted)
}

// prepare checks a request that was let in and finds its shard.
func (kv *KV) prepare(ctx context.Context, principal *tenancy.Principal, req Request, counted meter.Operation) (admitted, error) {
	namespace := req.GetNamespace()
	if namespace == "" {
		namespace = tenancy.DefaultNamespace
	}
	if err := tenancy.ValidateName("namespace", namespace); err != nil {
		return admitted{}, err
	}
	a := admitted{tenant: principal.Tenant, weight: max(principal.Weight, 1), namespace: namespace, limits: &principal.Limits, request: req, counted: counted}
	if err := a.limits.CheckRequest(func() int { return proto.Size(req) }); err != nil {
		return admitted{}, err
	}
	if err := a.check(); err != nil {
		return admitted{}, err
	}
	if err := allow(principal, namespace, req); err != nil {
		return admitted{}, err
	}
	var err error
	if a.route, err = kv.catalog.Route(ctx, principal.Tenant, namespace); err != nil {
		return admitted{}, err
	}
	a.address()
	if kv.router.cfg.Level() >= machine.LevelQuotas {
		a.bound()
	}
	return a, nil
}

// bound puts into a command that may store something how much that may be.
func (a *admitted) bound() {
	switch a.command.GetOperation().(type) {
	case *internalv1.Command_Put, *internalv1.Command_Txn:
		a.command.KeysMax, a.command.StoredBytesMax = uint64(a.limits.KeysMax), uint64(a.limits.StoredBytesMax)
	}
}

// address puts the route into the command, if there is one.
func (a *admitted) address() {
	if a.command != nil {
		a.command.NamespaceId, a.command.Epoch = uint64(a.route.Namespace), a.route.Epoch
	}
}

// check holds a request to the tenant's limits, clears what a command does not
// carry, and fills in how it is run.
func (a *admitted) check() error {
	limits := mvcc.Limits{
		KeyBytesMax: a.limits.KeyBytesMax, ValueBytesMax: a.limits.ValueBytesMax,
		TxnOperationsMax: a.limits.TxnOperationsMax,
	}
	switch req := a.request.(type) {
	case *flotillav1.GetRequest:
		req.Namespace = ""
		a.consistency = consistencyOf(req.GetSerializable())
		return mvcc.CheckGet(req, limits)
	case *flotillav1.RangeRequest:
		req.Namespace = ""
		a.consistency = consistencyOf(req.GetSerializable())
		return mvcc.CheckRange(req, limits)
	case *flotillav1.PutRequest:
		req.Namespace = ""
		a.command = &internalv1.Command{Operation: &internalv1.Command_Put{Put: req}}
		return mvcc.CheckPut(req, limits)
	case *flotillav1.DeleteRequest:
		req.Namespace = ""
		a.command = &internalv1.Command{Operation: &internalv1.Command_Delete{Delete: req}}
		return mvcc.CheckDelete(req, limits)
	case *flotillav1.TxnRequest:
		req.Namespace = ""
		if mvcc.IsReadOnly(req) { // else it would cost an entry of the log
			a.consistency = shards.Linearizable
		} else {
			a.command = &internalv1.Command{Operation: &internalv1.Command_Txn{Txn: req}}
		}
		return mvcc.CheckTxn(req, limits)
	case *flotillav1.CompactRequest:
		req.Namespace = ""
		a.command = &internalv1.Command{Operation: &internalv1.Command_Compact{Compact: req}}
		return mvcc.CheckCompact(req, limits)
	default:
		if ok, err := a.checkLease(); ok {
			return err
		}
		return fmt.Errorf("%T is not a request to a key space", a.request)
	}
}

func consistencyOf(serializable bool) shards.Consistency {
	if serializable {
		return shards.Serializable
	}
	return shards.Linearizable
}
