package peer_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/fair"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

// TestCommandsOfOtherNodes sends each kind of command: those of callers and of the
// platform's catalog go to the shard, those that only its leader proposes do not.
func TestCommandsOfOtherNodes(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	propose := func(c *internalv1.Command, answer proto.Message) (proto.Message, error) {
		p.host.mu.Lock()
		p.host.answer = func(got *internalv1.Command) machine.Result {
			require.Empty(t, cmp.Diff(c, got, protocmp.Transform()))
			return machine.Result{Response: answer}
		}
		p.host.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return shards.Await(ctx, "t", c, func(call *shards.Call) error { return p.pool.Submit(there, shard, call) })
	}
	for _, c := range []struct {
		command *internalv1.Command
		answer  proto.Message
	}{
		{&internalv1.Command{
			NamespaceId: 7, Epoch: 1, KeysMax: 3, StoredBytesMax: 4, Operation: &internalv1.Command_Put{Put: &flotillav1.PutRequest{Key: []byte("a")}},
		}, &flotillav1.PutResponse{Revision: 2}},
		{&internalv1.Command{NamespaceId: 7, Epoch: 2, Operation: &internalv1.Command_DropNamespaceSlice{
			DropNamespaceSlice: &internalv1.DropNamespaceSlice{RowsMax: 5},
		}}, &internalv1.DropNamespaceSliceResponse{Rows: 3, More: true}},
	} {
		answer, err := propose(c.command, c.answer)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(c.answer, answer, protocmp.Transform()))
	}
	for _, c := range []*internalv1.Command{
		{},
		{Operation: &internalv1.Command_PurgeSlice{PurgeSlice: &internalv1.PurgeSlice{}}},
		{Operation: &internalv1.Command_CompactAged{CompactAged: &internalv1.CompactAged{}}},
		{Operation: &internalv1.Command_ExpireLeases{ExpireLeases: &internalv1.ExpireLeases{}}},
	} {
		_, err := propose(c, nil)
		require.ErrorAs(t, err, new(*mvcc.InvalidError))
	}
}

// TestQueriesOfThePlatform asks what only nodes ask.
func TestQueriesOfThePlatform(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	for _, c := range []struct{ request, answer proto.Message }{
		{&internalv1.NamespaceStateRequest{}, &internalv1.NamespaceState{Revision: 7, Keys: 3}},
		{&internalv1.LeaseTTLsRequest{}, &internalv1.LeaseTTLsResponse{Revision: 7, Ids: []int64{1}, TtlSeconds: []int64{2}}},
		{&internalv1.StoredUsageRequest{StartHour: 3, EndHour: 5, NowMs: 9}, &internalv1.StoredUsageResponse{
			Hours: []*internalv1.StoredUsageHour{{Hour: 3, ByteSeconds: 4}},
		}},
	} {
		p.host.setQuery(func(_ context.Context, b *shards.QueryBatch) error {
			require.Empty(t, cmp.Diff(c.request, b.Queries[0].Request, protocmp.Transform()))
			b.Answer(0, c.answer, nil)
			return nil
		})
		answer, err := shards.Ask(t.Context(), onNode{p.pool}, shard, "t", shards.Serializable, shards.Query{Namespace: 7, Request: c.request})
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(c.answer, answer, protocmp.Transform()))
	}
}

func TestWeightsTravel(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	for _, c := range []struct{ said, heard int }{{0, 0}, {1, 1}, {7, 7}, {1_000_000, fair.WeightMax}, {-1, 0}} {
		encoded, err := proto.Marshal(command("a"))
		require.NoError(t, err)
		results := make(chan machine.Result, 1)
		require.NoError(t, p.pool.Submit(there, shard, &shards.Call{
			Tenant: "t", Weight: c.said, Command: encoded, Done: func(r machine.Result) { results <- r },
		}))
		p.host.wait(t, 1)
		p.host.mu.Lock()
		heard := p.host.calls[0].Weight
		p.host.mu.Unlock()
		p.host.done(machine.Result{Response: &flotillav1.PutResponse{}})
		require.NoError(t, result(t, results).Err)
		require.Equal(t, c.heard, heard)
	}
}
