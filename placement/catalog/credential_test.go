package catalog_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/tenancy"
)

func TestRotateAPIKey(t *testing.T) {
	t.Parallel()
	c, clock := newTimed(t)
	ctx := t.Context()
	newTimedTenant(t, c, "acme")
	require.NoError(t, c.CreateTenant(ctx, "other"))
	next := func(id string) catalog.APIKey { return catalog.APIKey{ID: id, Tenant: "acme"} }
	_, _, err := c.RotateAPIKey(ctx, "none", next("k2"), 0)
	require.ErrorIs(t, err, catalog.ErrAPIKeyNotFound)
	_, _, err = c.RotateAPIKey(ctx, "k1", catalog.APIKey{ID: "k2", Tenant: "other"}, 0)
	require.ErrorIs(t, err, catalog.ErrAPIKeyNotFound, "another tenant's")
	ending := next("k2")
	ending.Expire = clock.Now().Add(time.Hour)
	_, _, err = c.RotateAPIKey(ctx, "k1", ending, 0)
	require.ErrorIs(t, err, catalog.ErrLastAPIKey, "after an hour nobody could administrate the tenant")

	made, replaced, err := c.RotateAPIKey(ctx, "k1", next("k2"), time.Hour)
	require.NoError(t, err)
	require.Equal(t, "k2", replaced.ReplacedBy)
	require.Equal(t, clock.Now().Add(time.Hour), replaced.Expire)
	require.True(t, made.Expire.IsZero())
	_, _, err = c.RotateAPIKey(ctx, "k1", next("k3"), time.Hour)
	require.ErrorAs(t, err, new(*tenancy.WrongStateError), "it was replaced already")
	require.ErrorIs(t, c.RevokeAPIKey(ctx, "acme", "k2"), catalog.ErrLastAPIKey)
	require.NoError(t, c.RevokeAPIKey(ctx, "acme", "k1"), "one that ends may end sooner")

	limited := catalog.APIKey{ID: "r1", Tenant: "acme", Description: "reads", Expire: clock.Now().Add(time.Minute), Permissions: tenancy.Permissions{{Actions: tenancy.ActionRead}}}
	_, err = c.CreateAPIKey(ctx, limited)
	require.NoError(t, err)
	made, replaced, err = c.RotateAPIKey(ctx, "r1", next("r2"), time.Hour)
	require.NoError(t, err)
	require.Equal(t, limited.Permissions, made.Permissions)
	require.Equal(t, "reads", made.Description)
	require.Equal(t, limited.Expire, replaced.Expire, "an overlap makes nothing last longer")
	tenant, err := c.Tenant(ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, uint64(3), tenant.APIKeys)
}

// TestRotatedKeysKeepTheirLifetime: who had a key made that ends does not get one that
// never does by changing it, and the audit log tells which was made.
func TestRotatedKeysKeepTheirLifetime(t *testing.T) {
	t.Parallel()
	const lifetime = 90 * 24 * time.Hour
	c, clock := newTimed(t)
	newTimedTenant(t, c, "acme")
	begin := clock.Now()
	reads := tenancy.Permissions{{Actions: tenancy.ActionRead, Namespace: "default"}}
	for _, key := range []catalog.APIKey{{ID: "ending", Expire: begin.Add(lifetime)}, {ID: "lasting"}} {
		key.Tenant, key.Permissions = "acme", reads
		_, err := c.CreateAPIKey(t.Context(), key)
		require.NoError(t, err)
	}
	day := 24 * time.Hour
	for _, test := range []struct {
		id, next     string
		given, wants time.Duration // from the rotation on; 0 is none
	}{
		{"ending", "ending-2", 0, lifetime},
		{"ending-2", "ending-3", 0, lifetime},
		{"ending-3", "short", day, day},
		{"short", "short-2", 0, day},
		{"lasting", "lasting-2", 0, 0},
		{"lasting-2", "chosen", day, day},
	} {
		clock.move(time.Hour)
		at := func(after time.Duration) time.Time {
			if after == 0 {
				return time.Time{}
			}
			return clock.Now().Add(after)
		}
		next := catalog.APIKey{ID: test.next, Tenant: "acme", Expire: at(test.given)}
		made, _, err := c.RotateAPIKey(t.Context(), test.id, next, time.Minute)
		require.NoError(t, err)
		require.Equal(t, at(test.wants), made.Expire, test.next)
		stored, err := c.APIKey(t.Context(), test.next)
		require.NoError(t, err)
		require.Equal(t, made.Expire, stored.Expire, test.next)
		told := "API key ends " + at(time.Minute).UTC().Format(time.RFC3339) + ", replaced by " + test.next + `, which allows read in "default" under ""`
		if test.wants != 0 {
			told += ", ends " + made.Expire.UTC().Format(time.RFC3339)
		}
		require.Equal(t, told, lastDetail(t, c))
	}
}

// TestLastAdministratorStays over revocations at the same time by two gateways.
func TestLastAdministratorStays(t *testing.T) {
	t.Parallel()
	catalogs := startCatalogs(t, 2, 2)
	ctx := t.Context()
	for round := range 5 {
		tenant := tenancy.TenantID(fmt.Sprintf("t-%d", round))
		require.NoError(t, catalogs[0].CreateTenant(ctx, tenant))
		ids := []string{fmt.Sprintf("a-%d", round), fmt.Sprintf("b-%d", round)}
		for _, id := range ids {
			_, err := catalogs[0].CreateAPIKey(ctx, catalog.APIKey{ID: id, Tenant: tenant})
			require.NoError(t, err)
		}
		_, err := catalogs[0].CreateAPIKey(ctx, catalog.APIKey{ID: fmt.Sprintf("r-%d", round), Tenant: tenant, Permissions: tenancy.Permissions{{Actions: tenancy.ActionRead}}})
		require.NoError(t, err)
		errs := make([]error, 2)
		var revoking sync.WaitGroup
		for i, c := range catalogs {
			revoking.Go(func() { errs[i] = c.RevokeAPIKey(ctx, tenant, ids[i]) })
		}
		revoking.Wait()
		if errs[0] == nil {
			errs[0], errs[1] = errs[1], errs[0]
		}
		require.ErrorIs(t, errs[0], catalog.ErrLastAPIKey)
		require.NoError(t, errs[1])
	}
}

func TestAPIKeysAreBounded(t *testing.T) {
	t.Parallel()
	c, _ := newTimed(t)
	ctx := t.Context()
	newTimedTenant(t, c, "acme")
	var err error
	made := 1
	for ; err == nil && made < 1005; made++ {
		_, err = c.CreateAPIKey(ctx, catalog.APIKey{ID: fmt.Sprintf("n-%04d", made), Tenant: "acme"})
	}
	require.ErrorAs(t, err, new(*tenancy.QuotaError))
	require.Equal(t, 1001, made)
	_, _, err = c.RotateAPIKey(ctx, "k1", catalog.APIKey{ID: "k2", Tenant: "acme"}, 0)
	require.ErrorAs(t, err, new(*tenancy.QuotaError))
}

func TestOperators(t *testing.T) {
	t.Parallel()
	c, clock := newTimed(t)
	ctx := t.Context()
	create := func(name string, role catalog.Role, expire time.Time) error {
		_, err := c.CreateOperator(ctx, catalog.Operator{Name: name, Role: role, SecretHash: []byte(name), Expire: expire})
		return err
	}
	require.NoError(t, create("first", catalog.RoleOwner, time.Time{}))
	require.NoError(t, create("ending", catalog.RoleOwner, clock.Now().Add(time.Hour)))
	require.NoError(t, create("eve", catalog.RoleViewer, time.Time{}))
	require.ErrorAs(t, create("eve", catalog.RoleOwner, time.Time{}), new(*tenancy.AlreadyExistsError))
	require.ErrorAs(t, create("a/b", catalog.RoleOwner, time.Time{}), new(*tenancy.InvalidNameError))
	require.ErrorIs(t, c.DeleteOperator(ctx, "nobody"), catalog.ErrOperatorNotFound)
	require.ErrorIs(t, c.DeleteOperator(ctx, "first"), catalog.ErrLastOwner, "the other one ends by itself")
	require.NoError(t, create("second", catalog.RoleOwner, time.Time{}))
	require.NoError(t, c.DeleteOperator(ctx, "first"))
	require.ErrorIs(t, c.DeleteOperator(ctx, "second"), catalog.ErrLastOwner)
	_, err := c.Operator(ctx, "first")
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated)
	list, err := c.ListOperators(ctx)
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.Equal(t, "ending", list[0].Name)
}

// TestLastOwnerStays over deletions at the same time by two gateways.
func TestLastOwnerStays(t *testing.T) {
	t.Parallel()
	catalogs := startCatalogs(t, 2, 2)
	ctx := t.Context()
	for _, name := range []string{"a", "b"} {
		_, err := catalogs[0].CreateOperator(ctx, catalog.Operator{Name: name, Role: catalog.RoleOwner})
		require.NoError(t, err)
	}
	errs := make([]error, 2)
	var deleting sync.WaitGroup
	for i, c := range catalogs {
		deleting.Go(func() { errs[i] = c.DeleteOperator(ctx, []string{"a", "b"}[i]) })
	}
	deleting.Wait()
	if errs[0] == nil {
		errs[0], errs[1] = errs[1], errs[0]
	}
	require.ErrorIs(t, errs[0], catalog.ErrLastOwner)
	require.NoError(t, errs[1])
}
