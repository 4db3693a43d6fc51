package catalog_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/placement/catalog/catalogtest"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/shardstest"
	"github.com/flotillakv/flotilla/tenancy"
)

const (
	waitMax  = 20 * time.Second
	waitTick = time.Millisecond
)

// follower is a catalog that is kept true, as each node has one.
type follower struct {
	*catalog.Catalog
	directory *catalog.Directory
}

// follow runs a catalog over a host.
func follow(t *testing.T, host catalog.Host, cfg catalog.Config) follower {
	t.Helper()
	f := follower{directory: catalog.NewDirectory()}
	var err error
	f.Catalog, err = catalog.New(host, f.directory, cfg, time.Now, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var following sync.WaitGroup
	following.Go(func() {
		if err := f.Run(ctx); err != nil {
			t.Errorf("follow: %v", err)
		}
	})
	t.Cleanup(func() { stop(); following.Wait() })
	return f
}

// startCatalogs makes catalogs over one host, as gateways of one cluster have
// them: what one changes, another knows of by following alone.
func startCatalogs(t *testing.T, n int, data ...shards.ShardID) []*catalog.Catalog {
	t.Helper()
	host := catalogtest.NewHost(shardstest.Start(t, prometheus.NewRegistry(), data...))
	catalogtest.New(t, host, data...)
	catalogs := make([]*catalog.Catalog, n)
	for i := range catalogs {
		catalogs[i] = follow(t, host, catalog.Config{}).Catalog
		require.NoError(t, catalogs[i].EnsureCluster(t.Context(), catalogtest.Bootstrap(data...)))
	}
	return catalogs
}

// What a catalog answered before, also that there is nothing, does not outlive
// a change that another one makes.
func TestChangesReachOtherGateways(t *testing.T) {
	t.Parallel()
	catalogs := startCatalogs(t, 2, 2)
	here, there := catalogs[0], catalogs[1]
	ctx := t.Context()
	_, err := there.Route(ctx, "t", "late")
	require.ErrorIs(t, err, tenancy.ErrNamespaceNotFound)
	_, err = there.APIKey(ctx, "key1")
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated)

	require.NoError(t, here.CreateTenant(ctx, "t"))
	_, err = here.CreateNamespaces(ctx, "t", []string{"late"}, tenancy.Limits{}.WithDefaults())
	require.NoError(t, err)
	for _, id := range []string{"key1", "key2"} {
		_, err = here.CreateAPIKey(ctx, catalog.APIKey{ID: id, Tenant: "t", SecretHash: []byte(id)})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		_, routeErr := there.Route(ctx, "t", "late")
		key, keyErr := there.APIKey(ctx, "key1")
		return routeErr == nil && keyErr == nil && string(key.SecretHash) == "key1"
	}, waitMax, waitTick)

	require.NoError(t, here.RevokeAPIKey(ctx, "t", "key1"))
	_, err = here.APIKey(ctx, "key1")
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated, "who revokes knows at once")
	require.Eventually(t, func() bool {
		_, err := there.APIKey(ctx, "key1")
		return err != nil
	}, waitMax, waitTick)
}

// Gateways that place namespaces at the same time neither give a number twice
// nor lose count of what a shard has.
func TestConcurrentPlacement(t *testing.T) {
	t.Parallel()
	const each = 30
	catalogs := startCatalogs(t, 3, 2, 3, 4)
	ctx := t.Context()
	var placing sync.WaitGroup
	for g, c := range catalogs {
		tenant := tenancy.TenantID(fmt.Sprintf("tenant-%d", g))
		require.NoError(t, c.CreateTenant(ctx, tenant))
		placing.Go(func() {
			for n := range each {
				// A conflict that outlasts all retries is told, and nothing
				// happened: the caller tries again.
				for {
					_, err := c.CreateNamespaces(ctx, tenant, []string{fmt.Sprintf("ns-%d", n)}, tenancy.Limits{}.WithDefaults())
					if err == nil {
						break
					}
					if ctx.Err() != nil {
						t.Errorf("create a namespace: %v", err)
						return
					}
				}
			}
		})
	}
	placing.Wait()
	numbers := make(map[tenancy.NamespaceID]bool)
	placed := make(map[shards.ShardID]int)
	for g, c := range catalogs {
		list, more, err := c.ListNamespaces(ctx, tenancy.TenantID(fmt.Sprintf("tenant-%d", g)), "", 1000)
		require.NoError(t, err)
		require.False(t, more)
		require.Len(t, list, each)
		for _, ns := range list {
			route, err := c.Route(ctx, tenancy.TenantID(fmt.Sprintf("tenant-%d", g)), ns.Name)
			require.NoError(t, err)
			require.False(t, numbers[route.Namespace], "a number was given twice")
			numbers[route.Namespace] = true
			placed[route.Shard]++
		}
	}
	require.Equal(t, map[shards.ShardID]int{2: each, 3: each, 4: each}, placed)
}

// A refused creation creates nothing, not even the names that were good.
func TestNamespacesAreCreatedAllOrNone(t *testing.T) {
	t.Parallel()
	c := startCatalogs(t, 1, 2)[0]
	ctx := t.Context()
	limits := tenancy.Limits{}.WithDefaults()
	limits.NamespacesMax = 3
	_, err := c.CreateNamespaces(ctx, "nobody", []string{"a"}, limits)
	require.ErrorIs(t, err, tenancy.ErrTenantNotFound)
	require.NoError(t, c.CreateTenant(ctx, "t"))
	require.ErrorAs(t, c.CreateTenant(ctx, "t"), new(*tenancy.AlreadyExistsError))
	_, err = c.CreateNamespaces(ctx, "t", []string{"a"}, limits)
	require.NoError(t, err)

	for _, names := range [][]string{{"b", "a"}, {"b", "b"}} {
		_, err = c.CreateNamespaces(ctx, "t", names, limits)
		require.ErrorAs(t, err, new(*tenancy.AlreadyExistsError))
	}
	_, err = c.CreateNamespaces(ctx, "t", []string{"b", "Not A Name"}, limits)
	require.ErrorAs(t, err, new(*tenancy.InvalidNameError))
	_, err = c.CreateNamespaces(ctx, "t", []string{"b", "c", "d"}, limits)
	require.ErrorAs(t, err, new(*tenancy.QuotaError))
	list, _, err := c.ListNamespaces(ctx, "t", "", 10)
	require.NoError(t, err)
	require.Len(t, list, 1)

	_, err = c.CreateNamespaces(ctx, "t", []string{"b", "c"}, limits)
	require.NoError(t, err)
	list, more, err := c.ListNamespaces(ctx, "t", "a", 1)
	require.NoError(t, err)
	require.True(t, more)
	require.Equal(t, "b", list[0].Name)
}

// A tenant keeps its last key, and nobody revokes another tenant's.
func TestAPIKeysOfATenant(t *testing.T) {
	t.Parallel()
	c := startCatalogs(t, 1, 2)[0]
	ctx := t.Context()
	_, err := c.CreateAPIKey(ctx, catalog.APIKey{ID: "k1", Tenant: "t"})
	require.ErrorIs(t, err, tenancy.ErrTenantNotFound)
	require.NoError(t, c.CreateTenant(ctx, "t"))
	require.NoError(t, c.CreateTenant(ctx, "other"))
	for id, tenant := range map[string]tenancy.TenantID{"k1": "t", "k2": "t", "k3": "other"} {
		_, err = c.CreateAPIKey(ctx, catalog.APIKey{ID: id, Tenant: tenant, Description: "of " + string(tenant)})
		require.NoError(t, err)
	}
	_, err = c.CreateAPIKey(ctx, catalog.APIKey{ID: "k1", Tenant: "other"})
	require.ErrorAs(t, err, new(*tenancy.AlreadyExistsError))

	keys, err := c.ListAPIKeys(ctx, "t")
	require.NoError(t, err)
	require.Len(t, keys, 2)
	require.Equal(t, "of t", keys[0].Description)
	require.ErrorIs(t, c.RevokeAPIKey(ctx, "t", "k3"), catalog.ErrAPIKeyNotFound)
	require.ErrorIs(t, c.RevokeAPIKey(ctx, "t", "none"), catalog.ErrAPIKeyNotFound)
	require.NoError(t, c.RevokeAPIKey(ctx, "t", "k1"))
	require.ErrorIs(t, c.RevokeAPIKey(ctx, "t", "k2"), catalog.ErrLastAPIKey)
}
