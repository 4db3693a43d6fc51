package peer_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/route"
	"github.com/flotillakv/flotilla/placement/catalog"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// oneNamespace is a catalog with one namespace.
type oneNamespace struct{}

func (oneNamespace) Route(context.Context, tenancy.TenantID, string) (catalog.Route, error) {
	return catalog.Route{Namespace: 7, Shard: shard, Epoch: 1}, nil
}

func (oneNamespace) Forget(tenancy.TenantID, string) {}

// A pipeline's writes of a key take effect in their order while the leadership
// goes round, whether or not some are refused.
func TestPipelineKeepsItsOrderWhileLeadersChange(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	edge := c.join(&node{id: "edge"})
	ctx, cancel := context.WithTimeout(tenancy.NewContext(t.Context(), &tenancy.Principal{
		Tenant: "t", Permissions: tenancy.FullAccess(), Limits: tenancy.Limits{}.WithDefaults(),
	}), 3*waitMax)
	defer cancel()
	const keys, rounds = 5, 300
	answered := make(chan error, keys*rounds)
	acknowledged := 0
	pipeline := route.NewKV(edge.router, oneNamespace{}).NewPipeline(10*time.Second,
		func(_ *flotillav1.Operation, _ proto.Message, err error) { answered <- err },
		func(context.Context) error { return nil })
	for i := range rounds {
		var operations []*flotillav1.Operation
		for key := range keys {
			operations = append(operations, &flotillav1.Operation{Id: uint64(i*keys + key), Operation: &flotillav1.Operation_Put{
				Put: &flotillav1.PutRequest{Key: fmt.Append(nil, key), Value: fmt.Append(nil, i+1)},
			}})
		}
		pipeline.Start(ctx, operations)
		if i%100 == 50 {
			leader := c.leader()
			for id, n := range c.nodes {
				if n.host != nil && id != leader.id {
					_ = leader.host.TransferLeader(ctx, shard, uint64(id[len(id)-1]-'0')) // it may have lost it
					break
				}
			}
		}
		if i%10 == 0 { // some are on their way, not all
			for range keys {
				acknowledged += outcomeOf(t, <-answered)
			}
		}
	}
	pipeline.Wait()
	close(answered)
	for err := range answered {
		acknowledged += outcomeOf(t, err)
	}
	t.Logf("%d of %d acknowledged", acknowledged, keys*rounds)
	require.Positive(t, acknowledged)

	applied, last := 0, map[string]int{}
	for a, err := range edge.router.Watch(ctx, shard, watch.Owner{Tenant: "t", Namespace: 7}, watch.Spec{From: 2}) {
		require.NoError(t, err)
		for _, e := range a.Events {
			value, err := strconv.Atoi(string(e.Version.Value))
			require.NoError(t, err)
			require.Greater(t, value, last[string(e.Key)], "key %s", e.Key)
			last[string(e.Key)] = value
			applied++
		}
		if applied >= acknowledged {
			break
		}
	}
}

// outcomeOf is 1 for a write that took effect.
func outcomeOf(t *testing.T, err error) int {
	t.Helper()
	var noLeader *shards.NotLeaderError
	var gone *shards.UnreachableError
	if err != nil && !errors.Is(err, shards.ErrOutcomeUnknown) && !errors.As(err, &noLeader) && !errors.As(err, &gone) {
		t.Errorf("a write failed: %v", err)
	}
	if err == nil {
		return 1
	}
	return 0
}
