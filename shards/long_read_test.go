package shards_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/tenancy"
)

// fill puts many keys.
func (n *node) fill(ns uint64, keys int) {
	n.t.Helper()
	var filling sync.WaitGroup
	for part := range 8 {
		filling.Go(func() {
			for i := part; i < keys; i += 8 {
				if _, err := n.host.Propose(n.t.Context(), dataShard, "tenant", putCommand(ns, fmt.Sprintf("k%05d", i), "v")); err != nil {
					n.t.Errorf("put: %v", err)
				}
			}
		})
	}
	filling.Wait()
}

func rangeOf(limit uint64) shards.Query {
	return shards.Query{Namespace: 10, Request: &flotillav1.RangeRequest{Limit: limit}}
}

// gauge is what the node shows for a metric without labels.
func (n *node) gauge(name string) (value float64) {
	n.t.Helper()
	families, err := n.metrics.Gather()
	require.NoError(n.t, err)
	for _, f := range families {
		if f.GetName() == name {
			require.Len(n.t, f.GetMetric(), 1)
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	require.Fail(n.t, "no such metric", name)
	return 0
}

// Goal: a tenant's long reads wait for each other, and nothing else does. Method: a
// turn is held as if a long read took for ever.
func TestLongReadsWaitForTheirTurn(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{LongReadsMax: 2})
	n.fill(10, 3000)
	ask := func(tenant tenancy.TenantID, q shards.Query) (proto.Message, error) {
		return shards.Ask(t.Context(), n.host, dataShard, tenant, shards.Linearizable, q)
	}
	end, ok := n.host.HoldTurn("a")
	require.True(t, ok)
	type result struct {
		response proto.Message
		err      error
	}
	waits := make(chan result, 10)
	countOnly := shards.Query{Namespace: 10, Request: &flotillav1.RangeRequest{CountOnly: true}}
	txn := shards.Query{Namespace: 10, Request: &flotillav1.TxnRequest{Success: []*flotillav1.TxnOperation{
		{Operation: &flotillav1.TxnOperation_Range{Range: &flotillav1.RangeRequest{Limit: 600}}},
		{Operation: &flotillav1.TxnOperation_Range{Range: &flotillav1.RangeRequest{Limit: 600}}},
	}}}
	long := []shards.Query{rangeOf(0), countOnly, txn}
	for _, q := range long {
		go func() {
			response, err := ask("a", q)
			waits <- result{response, err}
		}()
	}
	require.Eventually(t, func() bool { return n.host.LongReadsWaiting() == len(long) }, waitMax, time.Millisecond)
	require.InDelta(t, len(long), n.gauge("flotilla_shard_waiting_long_reads"), 0)
	require.InDelta(t, 1, n.gauge("flotilla_shard_running_long_reads"), 0)

	short := []shards.Query{
		rangeOf(500),
		{Namespace: 10, Request: &flotillav1.GetRequest{Key: []byte("k00001")}},
		{Namespace: 10, Request: &flotillav1.RangeRequest{Keys: &flotillav1.KeyRange{Prefix: []byte("k000")}}},
		{Namespace: 10, Request: &internalv1.LeaseTTLsRequest{}},
	}
	for _, q := range short {
		_, err := ask("a", q)
		require.NoError(t, err, "short reads do not wait")
	}
	for _, tenant := range []tenancy.TenantID{"b", tenancy.SystemTenant} {
		for _, q := range long {
			_, err := ask(tenant, q)
			require.NoError(t, err, "nor do others")
		}
	}
	endB, ok := n.host.HoldTurn("b")
	require.True(t, ok)
	_, err := ask(tenancy.SystemTenant, countOnly)
	require.NoError(t, err, "the platform waits for no tenant")
	late, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = shards.Ask(late, n.host, dataShard, "c", shards.Linearizable, countOnly)
	require.ErrorIs(t, err, context.DeadlineExceeded, "all turns are taken")
	endB()
	n.put(10, "later", "v")
	end()
	counted := false
	for range long {
		r := <-waits
		require.NoError(t, r.err)
		if c, ok := r.response.(*flotillav1.RangeResponse); ok && c.GetCount() > 0 {
			require.EqualValues(t, 3001, c.GetCount(), "the state is that of when it is read")
			counted = true
		}
	}
	require.True(t, counted)
	require.Zero(t, n.host.LongReadsWaiting())
}

// TestBatchWithALongRead answers what is short at once, and each query once.
func TestBatchWithALongRead(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{LongReadsMax: 1})
	n.fill(10, 1500)
	end, ok := n.host.HoldTurn("other")
	require.True(t, ok)
	answered := make(chan int, 10)
	begun, ended := 0, make(chan struct{})
	batch := shards.QueryBatch{
		Tenant: "a", Queries: []shards.Query{rangeOf(0), rangeOf(1), rangeOf(0), rangeOf(2)},
		Begin: func(context.Context) (func(), error) {
			begun++
			return func() { close(ended) }, nil
		},
		Emit: func(i int, response proto.Message, err error) {
			if found, ok := response.(*flotillav1.RangeResponse); err == nil && ok && len(found.GetKvs()) > 0 {
				answered <- i
			}
		},
	}
	over := make(chan error, 1)
	go func() { over <- n.host.QueryBatch(t.Context(), dataShard, &batch) }()
	require.Equal(t, 1, <-answered)
	require.Equal(t, 3, <-answered)
	<-ended // so others of the caller's may read
	require.Eventually(t, func() bool { return n.host.LongReadsWaiting() == 1 }, waitMax, time.Millisecond)
	end()
	require.Equal(t, 0, <-answered)
	require.Equal(t, 2, <-answered)
	require.NoError(t, <-over)
	require.Equal(t, 1, begun)
}

// A replica that went while a read waited has nothing to say: the read is to be asked
// elsewhere, and is not answered from an empty state.
func TestReplicaGoesWhileALongReadWaits(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{LongReadsMax: 1})
	n.fill(10, 1500)
	end, ok := n.host.HoldTurn("other")
	require.True(t, ok)
	over := make(chan error, 1)
	go func() {
		_, err := shards.Ask(t.Context(), n.host, dataShard, "a", shards.Linearizable, rangeOf(0))
		over <- err
	}()
	require.Eventually(t, func() bool { return n.host.LongReadsWaiting() == 1 }, waitMax, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	require.NoError(t, n.host.DropReplica(ctx, dataShard, 1))
	end()
	require.ErrorIs(t, <-over, shards.ErrShardNotFound)
}
