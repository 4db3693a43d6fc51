package catalog_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/placement/catalog/catalogtest"
	"github.com/flotillakv/flotilla/shards/shardstest"
)

// The last key that administrates stays, also when the gateway that is asked to end
// it has not seen yet that the other one will expire.
func TestTheLastKeyStaysWhereMemoryIsOld(t *testing.T) {
	t.Parallel()
	node := shardstest.Start(t, prometheus.NewRegistry(), 2)
	here, there := catalogtest.NewHost(node), catalogtest.NewHost(node)
	operator := catalogtest.New(t, here, 2)
	gateway := follow(t, there, catalog.Config{FreshFor: time.Hour})
	ctx := t.Context()
	require.NoError(t, operator.CreateTenant(ctx, "t"))
	createKey(t, operator, "key1")
	createKey(t, operator, "key2")
	require.NoError(t, operator.Drain(ctx, catalogtest.NodeID, ""))
	require.Eventually(t, func() bool {
		return gateway.directory.Node(catalogtest.NodeID).GetState() == draining
	}, waitMax, waitTick, "it has seen all changes, so that what it reads now is kept")
	_, err := gateway.ListAPIKeys(ctx, "t")
	require.NoError(t, err)

	there.SetHang(true)
	next := catalog.APIKey{ID: "key3", Tenant: "t", SecretHash: []byte("key3"), Expire: time.Now().Add(time.Hour)}
	_, _, err = operator.RotateAPIKey(ctx, "key1", next, time.Hour)
	require.NoError(t, err, "key2 administrates")
	known, err := gateway.APIKey(ctx, "key1")
	require.NoError(t, err)
	require.Zero(t, known.Expire, "this gateway does not know yet")
	require.ErrorIs(t, gateway.RevokeAPIKey(ctx, "t", "key2"), catalog.ErrLastAPIKey)
}
