package route_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/route"
	"github.com/flotillakv/flotilla/placement/catalog"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// fakeHost notes what reaches the shards, and answers when the test says so.
type fakeHost struct {
	mu     sync.Mutex
	begun  []string // "put a", "get"
	calls  []*shards.Call
	reads  []chan struct{}
	refuse error
}

var errReadEnded = errors.New("the read was ended by the test")

func (h *fakeHost) Submit(_ shards.ShardID, call *shards.Call) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuse != nil {
		return h.refuse
	}
	var c internalv1.Command
	if err := proto.Unmarshal(call.Command, &c); err != nil {
		return err
	}
	h.begun = append(h.begun, "put "+string(c.GetPut().GetKey()))
	h.calls = append(h.calls, call)
	return nil
}

func (h *fakeHost) QueryBatch(ctx context.Context, _ shards.ShardID, _ *shards.QueryBatch) error {
	end := make(chan struct{})
	h.mu.Lock()
	h.begun = append(h.begun, "get")
	h.reads = append(h.reads, end)
	h.mu.Unlock()
	select {
	case <-end:
		return errReadEnded
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *fakeHost) Watches(shards.ShardID) (*watch.Hub, error) { return nil, errors.New("not used") }

func (h *fakeHost) Current(context.Context, shards.ShardID) error { return nil }

func (h *fakeHost) Leads(shards.ShardID) bool { return true }

func (h *fakeHost) HasReplica(shards.ShardID) bool { return true }

func (h *fakeHost) Leader(shards.ShardID) (node string, term uint64) { return "", 0 }

// newKV is the key space of a node that is alone.
func newKV(local route.Local) *route.KV {
	return route.NewKV(route.NewRouter(route.RouterConfig{Local: local}), fakeCatalog{})
}

// answerPut answers the oldest write that is not answered yet.
func (h *fakeHost) answerPut() {
	h.mu.Lock()
	call := h.calls[0]
	h.calls = h.calls[1:]
	h.mu.Unlock()
	call.Done(machine.Result{Response: &flotillav1.PutResponse{}})
}

func (h *fakeHost) endRead() {
	h.mu.Lock()
	end := h.reads[0]
	h.reads = h.reads[1:]
	h.mu.Unlock()
	close(end)
}

func (h *fakeHost) seen() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.begun...)
}

type fakeCatalog struct{}

func (fakeCatalog) Route(_ context.Context, _ tenancy.TenantID, name string) (catalog.Route, error) {
	if name != "default" {
		return catalog.Route{}, tenancy.ErrNamespaceNotFound
	}
	return catalog.Route{Namespace: 1024, Shard: 2, Epoch: 1}, nil
}

func (fakeCatalog) Forget(tenancy.TenantID, string) {}

func asTenant(ctx context.Context, permissions tenancy.Permissions) context.Context {
	return tenancy.NewContext(ctx, &tenancy.Principal{
		Tenant: "t", Permissions: permissions, Limits: tenancy.Limits{}.WithDefaults(),
	})
}

func put(id uint64, key string) *flotillav1.Operation {
	return &flotillav1.Operation{Id: id, Operation: &flotillav1.Operation_Put{
		Put: &flotillav1.PutRequest{Key: []byte(key), Value: []byte("v")},
	}}
}

func get(id uint64, key string) *flotillav1.Operation {
	return &flotillav1.Operation{Id: id, Operation: &flotillav1.Operation_Get{Get: &flotillav1.GetRequest{Key: []byte(key)}}}
}

// pipeline is a pipeline under test with the ids of the operations answered.
type pipeline struct {
	*route.Pipeline
	host     *fakeHost
	mu       sync.Mutex
	answered map[uint64]error
}

func newPipeline(host *fakeHost) *pipeline {
	p := &pipeline{host: host, answered: map[uint64]error{}}
	p.Pipeline = newKV(host).NewPipeline(time.Second, func(op *flotillav1.Operation, _ proto.Message, err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if _, twice := p.answered[op.GetId()]; twice {
			panic(fmt.Sprintf("operation %d was answered twice", op.GetId()))
		}
		p.answered[op.GetId()] = err
	}, func(context.Context) error { return nil })
	return p
}

func TestReadAndWriteOfOneKeyDoNotOvertakeEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		host := &fakeHost{}
		p := newPipeline(host)
		ctx := asTenant(t.Context(), tenancy.FullAccess())
		p.Start(ctx, []*flotillav1.Operation{put(1, "a"), put(2, "a"), get(3, "a"), get(4, "a"), put(5, "a"), put(6, "b")})
		synctest.Wait()
		require.Equal(t, []string{"put a", "put a", "put b"}, host.seen(), "writes go on together, other keys at once")
		host.answerPut()
		synctest.Wait()
		require.Len(t, host.seen(), 3, "the reads wait for both writes")
		host.answerPut()
		synctest.Wait()
		require.Equal(t, []string{"put a", "put a", "put b", "get"}, host.seen(), "both reads share one state")
		host.endRead()
		synctest.Wait()
		require.Equal(t, "put a", host.seen()[4], "and the write after them goes last")
		host.answerPut()
		host.answerPut()
		p.Wait()
		require.Len(t, p.answered, 6)
		require.ErrorIs(t, p.answered[3], errReadEnded)
		require.NoError(t, p.answered[5])
	})
}

func TestOrderIsKeptWhetherOrNotTheNamespaceIsNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		host := &fakeHost{}
		p := newPipeline(host)
		named := get(2, "a")
		named.GetGet().Namespace = tenancy.DefaultNamespace
		p.Start(asTenant(t.Context(), tenancy.FullAccess()), []*flotillav1.Operation{put(1, "a"), named})
		synctest.Wait()
		require.Equal(t, []string{"put a"}, host.seen(), "both are of the default namespace")
		host.answerPut()
		synctest.Wait()
		host.endRead()
		p.Wait()
	})
}

func TestOperationsOfAPipelineFailAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		host := &fakeHost{}
		p := newPipeline(host)
		elsewhere := put(2, "a")
		elsewhere.GetPut().Namespace = "other"
		empty := &flotillav1.Operation{Id: 3}
		p.Start(asTenant(t.Context(), tenancy.FullAccess()), []*flotillav1.Operation{put(1, "a"), elsewhere, empty, put(4, "")})
		host.answerPut()
		p.Wait()
		require.NoError(t, p.answered[1])
		require.ErrorIs(t, p.answered[2], tenancy.ErrNamespaceNotFound)
		require.Error(t, p.answered[3])
		require.Error(t, p.answered[4], "an empty key")
	})
}

func TestRefusedWriteDoesNotHoldUpItsKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		host := &fakeHost{refuse: shards.ErrDiskFull}
		p := newPipeline(host)
		p.Start(asTenant(t.Context(), tenancy.FullAccess()), []*flotillav1.Operation{put(1, "a"), put(2, "a"), get(3, "a")})
		synctest.Wait()
		host.endRead()
		p.Wait()
		require.ErrorIs(t, p.answered[1], shards.ErrDiskFull)
		require.ErrorIs(t, p.answered[2], shards.ErrDiskFull)
		require.ErrorIs(t, p.answered[3], errReadEnded)
	})
}

func TestReadThatTakesTooLongIsAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipeline(&fakeHost{})
		p.Start(asTenant(t.Context(), tenancy.FullAccess()), []*flotillav1.Operation{get(1, "a")})
		p.Wait()
		require.ErrorIs(t, p.answered[1], context.DeadlineExceeded)
	})
}

func TestEveryPartOfARequestMustBeAllowed(t *testing.T) {
	t.Parallel()
	readOnA := tenancy.Permissions{{Actions: tenancy.ActionRead, Prefix: []byte("a")}}
	writeOnA := tenancy.Permissions{{Actions: tenancy.ActionWrite, Prefix: []byte("a")}}
	bothOnA := tenancy.Permissions{{Actions: tenancy.ActionRead | tenancy.ActionWrite, Prefix: []byte("a")}}
	putPrev := put(1, "a")
	putPrev.GetPut().PrevKv = true
	txn := func(compared, written string) *flotillav1.Operation {
		return &flotillav1.Operation{Id: 1, Operation: &flotillav1.Operation_Txn{Txn: &flotillav1.TxnRequest{
			Compare: []*flotillav1.Compare{{
				Subject: &flotillav1.Compare_Key{Key: []byte(compared)}, Target: &flotillav1.Compare_Version{},
			}},
			Failure: []*flotillav1.TxnOperation{{Operation: &flotillav1.TxnOperation_Txn{Txn: &flotillav1.TxnRequest{
				Success: []*flotillav1.TxnOperation{{Operation: &flotillav1.TxnOperation_Put{
					Put: &flotillav1.PutRequest{Key: []byte(written)},
				}}},
			}}}},
		}}}
	}
	everything := &flotillav1.Operation{Id: 1, Operation: &flotillav1.Operation_Delete{Delete: &flotillav1.DeleteRequest{
		Target: &flotillav1.DeleteRequest_Range{Range: &flotillav1.KeyRange{}},
	}}}
	for name, c := range map[string]struct {
		permissions tenancy.Permissions
		operation   *flotillav1.Operation
	}{
		"a read needs to read":                      {writeOnA, get(1, "a")},
		"a write needs to write":                    {readOnA, put(1, "a")},
		"another key":                               {bothOnA, put(1, "b")},
		"a write that answers what was there reads": {writeOnA, putPrev},
		"a comparison reads":                        {writeOnA, txn("a", "a")},
		"a comparison of another key":               {bothOnA, txn("b", "a")},
		"a write deep in a transaction":             {bothOnA, txn("a", "b")},
		"a range of all keys":                       {bothOnA, everything},
	} {
		host := &fakeHost{}
		p := newPipeline(host)
		p.Start(asTenant(t.Context(), c.permissions), []*flotillav1.Operation{c.operation})
		p.Wait()
		require.ErrorIs(t, p.answered[1], tenancy.ErrPermissionDenied, name)
		require.Empty(t, host.seen(), name)
	}
	p := newPipeline(&fakeHost{})
	p.Start(t.Context(), []*flotillav1.Operation{put(1, "a")})
	p.Wait()
	require.ErrorIs(t, p.answered[1], tenancy.ErrUnauthenticated)
}
