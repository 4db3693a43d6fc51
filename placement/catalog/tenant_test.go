package catalog_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

func tenantID(name string) tenancy.TenantID { return tenancy.TenantID(name) }

// TestCreateTenantsEachByItself: what is wrong with some does not keep the others,
// also over more than one transaction holds.
func TestCreateTenantsEachByItself(t *testing.T) {
	t.Parallel()
	c, _ := newTimed(t)
	ctx := t.Context()
	require.NoError(t, c.CreateTenant(ctx, "taken"))
	var list []catalog.NewTenant
	for i := range 230 {
		list = append(list, catalog.NewTenant{ID: tenantID(fmt.Sprintf("t-%03d", i)), Namespace: "default", Key: &catalog.APIKey{ID: fmt.Sprintf("key-%03d", i)}})
	}
	list[0].ID, list[101].ID = "taken", "t-000"
	list[5].ID, list[6].ID, list[7].Plan, list[8].Namespace = "Bad", "flotilla-x", "gold", "a/b"
	list[229].ID = "t-100" // given twice
	results := c.CreateTenants(ctx, list)
	require.Len(t, results, len(list))
	for i, r := range results {
		switch i {
		case 0, 229:
			require.ErrorAs(t, r.Err, new(*tenancy.AlreadyExistsError), i)
		case 5, 6, 8:
			require.ErrorAs(t, r.Err, new(*tenancy.InvalidNameError), i)
		case 7:
			require.ErrorAs(t, r.Err, new(*tenancy.PlanNotFoundError))
		default:
			require.NoError(t, r.Err, i)
			require.Equal(t, catalog.TenantActive, r.Tenant.State)
			require.Equal(t, tenancy.PlanStandard, r.Tenant.Plan)
			require.Equal(t, uint64(1), r.Tenant.Namespaces)
			key, err := c.APIKey(ctx, list[i].Key.ID)
			require.NoError(t, err)
			require.Equal(t, list[i].ID, key.Tenant)
		}
		if r.Err != nil {
			require.Nil(t, r.Tenant)
			_, err := c.APIKey(ctx, list[i].Key.ID)
			require.ErrorIs(t, err, tenancy.ErrUnauthenticated, "of a tenant that was not created there is nothing")
		}
	}
	entries, _, err := c.ListAudit(ctx, catalog.AuditFilter{Limit: 1000})
	require.NoError(t, err)
	require.Len(t, entries, 1+230-6, "refusals are no acts")
}

func TestStatesOfATenant(t *testing.T) {
	t.Parallel()
	c, clock := newTimed(t)
	ctx := t.Context()
	newTimedTenant(t, c, "acme")
	state := func(want catalog.TenantState) {
		t.Helper()
		got, err := c.Tenant(ctx, "acme")
		require.NoError(t, err)
		require.Equal(t, want, got.State)
	}
	for _, change := range []func(tenancy.TenantID) (*catalog.Tenant, error){
		func(id tenancy.TenantID) (*catalog.Tenant, error) { return c.SuspendTenant(ctx, id) },
		func(id tenancy.TenantID) (*catalog.Tenant, error) { return c.ResumeTenant(ctx, id) },
		func(id tenancy.TenantID) (*catalog.Tenant, error) { return c.DeleteTenant(ctx, id, 0) },
		func(id tenancy.TenantID) (*catalog.Tenant, error) {
			return c.SetTenantLimits(ctx, id, catalog.TenantLimits{})
		},
	} {
		_, err := change("nobody")
		require.ErrorIs(t, err, tenancy.ErrTenantNotFound)
	}
	_, err := c.SuspendTenant(ctx, "acme")
	require.NoError(t, err)
	state(catalog.TenantSuspended)
	_, err = c.ResumeTenant(ctx, "acme")
	require.NoError(t, err)
	state(catalog.TenantActive)

	deleted, err := c.DeleteTenant(ctx, "acme", time.Hour)
	require.NoError(t, err)
	require.Equal(t, clock.Now().Add(time.Hour), deleted.PurgeTime)
	state(catalog.TenantDeleting)
	_, err = c.SuspendTenant(ctx, "acme")
	require.ErrorAs(t, err, new(*tenancy.WrongStateError))
	_, err = c.DeleteTenant(ctx, "acme", 0)
	require.ErrorAs(t, err, new(*tenancy.WrongStateError), "it is deleted already, and not sooner")
	_, err = c.CreateNamespaces(ctx, "acme", []string{"late"}, tenancy.Limits{}.WithDefaults())
	require.ErrorAs(t, err, new(*tenancy.WrongStateError))
	due := func() []tenancy.TenantID {
		list, err := c.DueTenants(ctx, 10)
		require.NoError(t, err)
		return list
	}
	clock.move(time.Hour - time.Millisecond)
	require.Empty(t, due())
	_, err = c.EraseTenant(ctx, "acme")
	require.Error(t, err, "its time has not come")
	_, err = c.ResumeTenant(ctx, "acme")
	require.NoError(t, err, "at the last moment")
	state(catalog.TenantActive)
	clock.move(time.Hour)
	require.Empty(t, due())

	_, err = c.DeleteTenant(ctx, "acme", time.Minute)
	require.NoError(t, err)
	clock.move(time.Minute)
	require.Equal(t, []tenancy.TenantID{"acme"}, due())
	_, err = c.ResumeTenant(ctx, "acme")
	require.ErrorAs(t, err, new(*tenancy.WrongStateError), "its data is being removed")
	_, err = c.APIKey(ctx, "k1")
	require.NoError(t, err, "nobody has begun")
}

// TestEraseTenantBySlices removes a tenant with more than one slice holds, by two
// catalogs at the same time, and makes another one of its name.
func TestEraseTenantBySlices(t *testing.T) {
	t.Parallel()
	catalogs := startCatalogs(t, 2, 2)
	c := catalogs[0]
	ctx := t.Context()
	for _, name := range []tenancy.TenantID{"acme", "acme-b"} {
		require.NoError(t, c.CreateTenant(ctx, name))
		for i := range 3 {
			var names []string
			for j := range 75 {
				names = append(names, fmt.Sprintf("ns-%d-%d", i, j))
			}
			_, err := c.CreateNamespaces(ctx, name, names, tenancy.Limits{}.WithDefaults())
			require.NoError(t, err)
		}
		for i := range 130 {
			_, err := c.CreateAPIKey(ctx, catalog.APIKey{ID: fmt.Sprintf("%s-%03d", name, i), Tenant: name})
			require.NoError(t, err)
		}
		require.NoError(t, c.SetIssuer(ctx, name, &flotillav1.Issuer{Name: "ci"}))
	}
	_, err := c.DeleteTenant(ctx, "acme", 0)
	require.NoError(t, err)
	finished := make(chan int, len(catalogs))
	for _, c := range catalogs {
		go func() {
			slices := 0
			for done := false; !done; slices++ {
				var err error
				if done, err = c.EraseTenant(ctx, "acme"); err != nil {
					break // the other one has
				}
			}
			finished <- slices
		}()
	}
	require.GreaterOrEqual(t, <-finished+<-finished, 3)
	_, err = c.Tenant(ctx, "acme")
	require.ErrorIs(t, err, tenancy.ErrTenantNotFound)
	due, err := c.DueTenants(ctx, 10)
	require.NoError(t, err)
	require.Empty(t, due)
	_, err = c.APIKey(ctx, "acme-007")
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated)
	purges, err := c.Purges(ctx, 1000)
	require.NoError(t, err)
	require.Len(t, purges, 225, "each of its namespaces, once")

	made := c.CreateTenants(ctx, []catalog.NewTenant{{ID: "acme", Namespace: "ns-0-0"}})
	require.NoError(t, made[0].Err)
	issuers, err := c.Issuers(ctx, "acme")
	require.NoError(t, err)
	require.Empty(t, issuers.List)
	keys, err := c.ListAPIKeys(ctx, "acme")
	require.NoError(t, err)
	require.Empty(t, keys)
	neighbor, err := c.Tenant(ctx, "acme-b")
	require.NoError(t, err)
	require.Equal(t, uint64(225), neighbor.Namespaces, "whose name begins with its own")
	require.Equal(t, uint64(130), neighbor.APIKeys)
	list, _, err := c.ListNamespaces(ctx, "acme", "", 1000)
	require.NoError(t, err)
	require.Len(t, list, 1)
}

func TestDeleteNamespacesAllOrNone(t *testing.T) {
	t.Parallel()
	c, _ := newTimed(t)
	ctx := t.Context()
	require.ErrorIs(t, c.DeleteNamespaces(ctx, "nobody", []string{"a"}), tenancy.ErrTenantNotFound)
	newTimedTenant(t, c, "acme")
	_, err := c.CreateNamespaces(ctx, "acme", []string{"a", "b"}, tenancy.Limits{}.WithDefaults())
	require.NoError(t, err)
	for _, names := range [][]string{{"a", "none"}, {"a", "a"}} {
		require.ErrorIs(t, c.DeleteNamespaces(ctx, "acme", names), tenancy.ErrNamespaceNotFound)
	}
	before, err := c.Route(ctx, "acme", "a")
	require.NoError(t, err)
	require.NoError(t, c.DeleteNamespaces(ctx, "acme", []string{"a", "b"}))
	_, err = c.Route(ctx, "acme", "a")
	require.ErrorIs(t, err, tenancy.ErrNamespaceNotFound)
	_, err = c.CreateNamespaces(ctx, "acme", []string{"a"}, tenancy.Limits{}.WithDefaults())
	require.NoError(t, err)
	after, err := c.Route(ctx, "acme", "a")
	require.NoError(t, err)
	require.NotEqual(t, before.Namespace, after.Namespace, "a number is never used again")
	tenant, err := c.Tenant(ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, uint64(2), tenant.Namespaces)
	purges, err := c.Purges(ctx, 10)
	require.NoError(t, err)
	require.Len(t, purges, 2)
	require.Equal(t, before.Epoch+1, purges[0].Epoch)
	for _, p := range purges {
		for more := true; more; {
			more, err = c.DropSlice(ctx, p, 1)
			require.NoError(t, err)
		}
		more, err := c.DropSlice(ctx, p, 1)
		require.NoError(t, err, "once more does no harm")
		require.False(t, more)
		require.NoError(t, c.Purged(ctx, p))
		require.NoError(t, c.Purged(ctx, p))
	}
	purges, err = c.Purges(ctx, 10)
	require.NoError(t, err)
	require.Empty(t, purges)
}

// TestIssuersAreBounded by their number and their bytes.
func TestIssuersAreBounded(t *testing.T) {
	t.Parallel()
	c, _ := newTimed(t)
	ctx := t.Context()
	require.ErrorIs(t, c.SetIssuer(ctx, "nobody", &flotillav1.Issuer{Name: "a"}), tenancy.ErrTenantNotFound)
	newTimedTenant(t, c, "acme")
	require.ErrorIs(t, c.DeleteIssuer(ctx, "acme", "a"), catalog.ErrIssuerNotFound)
	for i := range 16 {
		require.NoError(t, c.SetIssuer(ctx, "acme", &flotillav1.Issuer{Name: fmt.Sprintf("i-%02d", i)}))
	}
	require.ErrorAs(t, c.SetIssuer(ctx, "acme", &flotillav1.Issuer{Name: "one-more"}), new(*tenancy.QuotaError))
	require.NoError(t, c.SetIssuer(ctx, "acme", &flotillav1.Issuer{Name: "i-03", Issuer: "https://other.example"}), "in the place of the one of its name")
	var refused *tenancy.QuotaError
	for i := 0; refused == nil; i++ {
		err := c.SetIssuer(ctx, "acme", &flotillav1.Issuer{Name: fmt.Sprintf("i-%02d", i), Jwks: strings.Repeat("k", 64<<10)})
		if err != nil {
			require.ErrorAs(t, err, &refused)
			require.Equal(t, 7, i, "eight of the largest sets of keys do not fit into 512 KiB with the rest")
		}
	}
	before, err := c.Issuers(ctx, "acme")
	require.NoError(t, err)
	require.Len(t, before.List, 16)
	require.NoError(t, c.DeleteIssuer(ctx, "acme", "i-03"))
	after, err := c.Issuers(ctx, "acme")
	require.NoError(t, err)
	require.Len(t, after.List, 15)
	require.Greater(t, after.Revision, before.Revision)
}
