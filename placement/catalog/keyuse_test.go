package catalog_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
)

// usedKeys makes up to KeyUsesMax keys of a tenant.
func usedKeys(t *testing.T, c *catalog.Catalog, tenant string, n int) (ids []string) {
	t.Helper()
	for i := range n {
		ids = append(ids, fmt.Sprintf("%s-%03d", tenant, i))
		_, err := c.CreateAPIKey(t.Context(), catalog.APIKey{ID: ids[i], Tenant: tenantID(tenant)})
		require.NoError(t, err)
	}
	return ids
}

func TestKeyUses(t *testing.T) {
	t.Parallel()
	c, clock := newTimed(t)
	ctx := t.Context()
	newTimedTenant(t, c, "acme")
	ids := usedKeys(t, c, "acme", 250)
	require.NoError(t, c.NoteKeyUses(ctx, ids[10:240], clock.Now()))
	require.NoError(t, c.NoteKeyUses(ctx, ids[:1], clock.Now().Add(time.Minute)))
	uses, err := c.KeyUses(ctx, ids)
	require.NoError(t, err)
	require.Len(t, uses, 250)
	for i, at := range uses {
		switch {
		case i == 0:
			require.Equal(t, clock.Now().Add(time.Minute), at)
		case i >= 10 && i < 240:
			require.Equal(t, clock.Now(), at)
		default:
			require.True(t, at.IsZero(), i)
		}
	}
}

// requireUses tells of which keys it is known that they were used.
func requireUses(t *testing.T, c *catalog.Catalog, ids []string, want ...string) {
	t.Helper()
	uses, err := c.KeyUses(t.Context(), ids)
	require.NoError(t, err)
	var known []string
	for i, at := range uses {
		if !at.IsZero() {
			known = append(known, ids[i])
		}
	}
	require.Equal(t, want, known)
}

// TestUsesOfRevokedKeysAreForgotten, also when a note of the use comes late: before
// the use is forgotten from a gateway that has not heard of the revocation, and after.
func TestUsesOfRevokedKeysAreForgotten(t *testing.T) {
	t.Parallel()
	c, clock := newTimed(t)
	ctx := t.Context()
	newTimedTenant(t, c, "acme")
	ids := usedKeys(t, c, "acme", 3)
	require.NoError(t, c.NoteKeyUses(ctx, ids, clock.Now()))
	require.NoError(t, c.RevokeAPIKey(ctx, "acme", ids[1]))
	forget := func() {
		t.Helper()
		more, err := c.ForgetKeyUses(ctx)
		require.NoError(t, err)
		require.False(t, more)
	}
	forget()
	requireUses(t, c, ids, ids...) // a note may be under way
	clock.move(time.Minute + time.Millisecond)
	forget()
	requireUses(t, c, ids, ids[0], ids[2])
	require.NoError(t, c.NoteKeyUses(ctx, ids[1:2], clock.Now()))
	require.NoError(t, c.NoteKeyUses(ctx, ids, clock.Now()))
	requireUses(t, c, ids, ids[0], ids[2])
	forget()
}

// TestUsesOfErasedTenantsAreForgotten, and those of others are not.
func TestUsesOfErasedTenantsAreForgotten(t *testing.T) {
	t.Parallel()
	c, clock := newTimed(t)
	ctx := t.Context()
	newTimedTenant(t, c, "acme")
	require.NoError(t, c.CreateTenant(ctx, "other"))
	ids, others := usedKeys(t, c, "acme", 150), usedKeys(t, c, "other", 2)
	require.NoError(t, c.NoteKeyUses(ctx, append(others, ids...), clock.Now()))
	_, err := c.DeleteTenant(ctx, "acme", 0)
	require.NoError(t, err)
	for done := false; !done; {
		done, err = c.EraseTenant(ctx, "acme")
		require.NoError(t, err)
	}
	clock.move(2 * time.Minute)
	for more := true; more; {
		more, err = c.ForgetKeyUses(ctx)
		require.NoError(t, err)
	}
	requireUses(t, c, append(others, ids...), others...)
}
