package catalog_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/placement/catalog/catalogtest"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/shardstest"
	"github.com/flotillakv/flotilla/tenancy"
)

func createKey(t *testing.T, c *catalog.Catalog, id string) {
	t.Helper()
	_, err := c.CreateAPIKey(t.Context(), catalog.APIKey{ID: id, Tenant: "t", SecretHash: []byte(id)})
	require.NoError(t, err)
}

// followTwoKeys makes a tenant "t" with the keys key1 and key2, and a gateway over a host
// of its own that has seen all of this, so that what it reads from now on is kept.
func followTwoKeys(t *testing.T, cfg catalog.Config) (operator *catalog.Catalog, gateway follower, there *catalogtest.Host) {
	t.Helper()
	node := shardstest.Start(t, prometheus.NewRegistry(), 2)
	here, there := catalogtest.NewHost(node), catalogtest.NewHost(node)
	operator = catalogtest.New(t, here, 2)
	gateway = follow(t, there, cfg)
	require.NoError(t, operator.CreateTenant(t.Context(), "t"))
	createKey(t, operator, "key1")
	createKey(t, operator, "key2")
	require.NoError(t, operator.Drain(t.Context(), catalogtest.NodeID, ""))
	require.Eventually(t, func() bool {
		return gateway.directory.Node(catalogtest.NodeID).GetState() == draining
	}, waitMax, waitTick)
	return operator, gateway, there
}

// While the system shard cannot be reached, known routes and keys work on; what
// is not known cannot be told. When it is back, so is the truth.
func TestWhatIsKnownOutlivesTheSystemShard(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	operator, gateway, there := followTwoKeys(t, catalog.Config{FreshFor: time.Millisecond})
	_, err := gateway.APIKey(ctx, "key1")
	require.NoError(t, err)
	_, err = gateway.APIKey(ctx, "later")
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated)

	down := errors.New("the system shard is down")
	there.SetDown(down)
	there.EndWatches()
	_, err = gateway.APIKey(ctx, "key1")
	require.NoError(t, err, "it is known")
	_, err = gateway.APIKey(ctx, "key2")
	require.ErrorIs(t, err, down, "it is not")
	_, err = gateway.APIKey(ctx, "later")
	require.ErrorIs(t, err, down, "a no may be wrong by now")

	createKey(t, operator, "later")
	require.NoError(t, operator.RevokeAPIKey(ctx, "t", "key1"))
	there.SetDown(nil)
	require.Eventually(t, func() bool {
		_, revoked := gateway.APIKey(ctx, "key1")
		_, made := gateway.APIKey(ctx, "later")
		return errors.Is(revoked, tenancy.ErrUnauthenticated) && made == nil
	}, waitMax, waitTick)
}

// A watch that ended goes on where it was; one whose next revisions are gone
// begins anew. Both know all in the end.
func TestWatchesEnd(t *testing.T) {
	t.Parallel()
	node := shardstest.Start(t, prometheus.NewRegistry(), 2)
	here, there := catalogtest.NewHost(node), catalogtest.NewHost(node)
	operator := catalogtest.New(t, here, 2)
	ctx := t.Context()
	require.NoError(t, operator.CreateTenant(ctx, "t"))
	createKey(t, operator, "kept")
	gateway := follow(t, there, catalog.Config{})
	for round, id := range []string{"key1", "key2", "key3", "key4"} {
		createKey(t, operator, id)
		require.Eventually(t, func() bool {
			there.SetDown(nil)
			_, _ = gateway.APIKey(ctx, id)
			there.SetDown(errors.New("nothing is to be repaired by reading"))
			_, err := gateway.APIKey(ctx, id)
			return err == nil
		}, waitMax, waitTick, "it is remembered")
		there.EndWatches()
		require.NoError(t, operator.RevokeAPIKey(ctx, "t", id))
		require.NoError(t, operator.Drain(ctx, catalogtest.NodeID, ""))
		if round%2 == 1 {
			compactSystem(t, here)
		}
		there.SetDown(nil)
		require.Eventually(t, func() bool {
			_, err := gateway.APIKey(ctx, id)
			draining := gateway.directory.Node(catalogtest.NodeID).GetState() == internalv1.NodeState_NODE_STATE_DRAINING
			return errors.Is(err, tenancy.ErrUnauthenticated) && draining
		}, waitMax, waitTick, "round %d", round)
		require.NoError(t, operator.Activate(ctx, catalogtest.NodeID))
	}
}

// A watch that hangs keeps neither the directory nor the cache from the truth, and
// once it does not any more, nothing was missed.
func TestWatchHangs(t *testing.T) {
	t.Parallel()
	node := shardstest.Start(t, prometheus.NewRegistry(), 2)
	here, there := catalogtest.NewHost(node), catalogtest.NewHost(node)
	operator := catalogtest.New(t, here, 2)
	gateway := follow(t, there, catalog.Config{FreshFor: 4 * time.Second})
	ctx := t.Context()
	require.NoError(t, operator.CreateTenant(ctx, "t"))
	createKey(t, operator, "key1")
	createKey(t, operator, "key2")
	require.Eventually(t, func() bool { _, err := gateway.APIKey(ctx, "key1"); return err == nil }, waitMax, waitTick)
	there.SetHang(true)
	drain := func(ctx context.Context, node string) error { return operator.Drain(ctx, node, "") }
	for _, change := range []func(context.Context, string) error{drain, operator.Activate} {
		require.NoError(t, change(ctx, catalogtest.NodeID))
		records, err := operator.Records(ctx)
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			return gateway.directory.Node(catalogtest.NodeID).GetState() == records.Directory.GetNodes()[catalogtest.NodeID].GetState()
		}, waitMax, waitTick)
	}
	require.NoError(t, operator.RevokeAPIKey(ctx, "t", "key1"))
	require.Eventually(t, func() bool {
		_, err := gateway.APIKey(ctx, "key1")
		return errors.Is(err, tenancy.ErrUnauthenticated)
	}, waitMax, waitTick)
	there.SetHang(false)
	require.NoError(t, operator.Drain(ctx, catalogtest.NodeID, ""))
	require.Eventually(t, func() bool {
		return gateway.directory.Node(catalogtest.NodeID).GetState() == draining
	}, waitMax, waitTick)
}

// compactSystem drops all old revisions of the system namespace.
func compactSystem(t *testing.T, host catalog.Host) {
	t.Helper()
	response, err := host.Query(t.Context(), shards.SystemShard, tenancy.SystemNamespace, shards.Linearizable, &flotillav1.GetRequest{Key: []byte("cluster")})
	require.NoError(t, err)
	present, ok := response.(*flotillav1.GetResponse)
	require.True(t, ok)
	_, err = host.Propose(t.Context(), shards.SystemShard, tenancy.SystemTenant, &internalv1.Command{
		NamespaceId: uint64(tenancy.SystemNamespace), Epoch: 1,
		Operation: &internalv1.Command_Compact{Compact: &flotillav1.CompactRequest{
			Revision: present.GetRevision(),
		}},
	})
	require.NoError(t, err)
}

// Run ends with its context, also while there is no system shard.
func TestRunEnds(t *testing.T) {
	t.Parallel()
	host := catalogtest.NewHost(shardstest.Start(t, prometheus.NewRegistry()))
	host.SetDown(errors.New("down"))
	c := follow(t, host, catalog.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	cancel()
	require.NoError(t, <-ended)
}
