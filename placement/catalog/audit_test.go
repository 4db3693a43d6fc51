package catalog_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/tenancy"
)

func TestAudit(t *testing.T) {
	t.Parallel()
	c, clock := newTimed(t)
	begin := clock.Now()
	act := catalog.Act{Actor: "operator:eve", Address: "192.0.2.1:4000", Procedure: "AdminService.SuspendTenant", RequestID: "id-1"}
	ctx := catalog.WithAct(t.Context(), act)
	newTimedTenant(t, c, "acme")
	refused := c.CreateTenants(ctx, []catalog.NewTenant{{ID: "acme"}})
	require.Error(t, refused[0].Err)
	made := c.CreateTenants(t.Context(), []catalog.NewTenant{{ID: "acme-b"}})
	require.NoError(t, made[0].Err)
	clock.move(time.Hour)
	_, err := c.SuspendTenant(ctx, "acme")
	require.NoError(t, err)
	list := func(f catalog.AuditFilter) ([]string, string) {
		t.Helper()
		f.Limit = max(f.Limit, 1)
		entries, next, err := c.ListAudit(t.Context(), f)
		require.NoError(t, err)
		var subjects []string
		for _, e := range entries {
			require.True(t, catalog.ValidAuditID(e.GetId()))
			subjects = append(subjects, e.GetSubject()+": "+e.GetDetail())
		}
		return subjects, next
	}
	all, next := list(catalog.AuditFilter{Limit: 100})
	require.Len(t, all, 3)
	require.Empty(t, next)
	require.Equal(t, "acme: suspended", all[0], "the newest first")
	first, next := list(catalog.AuditFilter{})
	require.Equal(t, all[:1], first)
	rest, next := list(catalog.AuditFilter{Before: next, Limit: 100})
	require.Equal(t, all[1:], rest)
	require.Empty(t, next)
	ofTenant, _ := list(catalog.AuditFilter{Tenant: "acme-b", Limit: 100})
	require.Equal(t, []string{"acme-b: created with the plan standard"}, ofTenant)
	since, _ := list(catalog.AuditFilter{Since: begin.Add(time.Hour), Limit: 100})
	require.Equal(t, all[:1], since)
	since, _ = list(catalog.AuditFilter{Since: begin, Limit: 100})
	require.Equal(t, all, since)
	since, _ = list(catalog.AuditFilter{Since: begin.Add(time.Hour + time.Millisecond), Limit: 100})
	require.Empty(t, since)

	entries, _, err := c.ListAudit(t.Context(), catalog.AuditFilter{Limit: 1})
	require.NoError(t, err)
	e := entries[0]
	got := catalog.Act{Actor: e.GetActor(), Address: e.GetAddress(), Procedure: e.GetAct(), RequestID: e.GetRequestId()}
	require.Equal(t, act, got)
	require.Equal(t, "acme", e.GetTenant())
	require.Equal(t, clock.Now().UTC(), e.GetTime().AsTime())
}

// TestAuditDetailsAreShort: a key may allow much, and its entry is no longer for it.
func TestAuditDetailsAreShort(t *testing.T) {
	t.Parallel()
	c, clock := newTimed(t)
	newTimedTenant(t, c, "acme")
	clock.move(time.Millisecond)
	long := tenancy.Permissions{{Actions: tenancy.ActionRead, Prefix: []byte(strings.Repeat("\u20ac", 1000))}}
	_, err := c.CreateAPIKey(t.Context(), catalog.APIKey{ID: "k2", Tenant: "acme", Permissions: long})
	require.NoError(t, err)
	entries, _, err := c.ListAudit(t.Context(), catalog.AuditFilter{Limit: 1})
	require.NoError(t, err)
	require.LessOrEqual(t, len(entries[0].GetDetail()), 1<<10+3)
	require.True(t, strings.HasSuffix(entries[0].GetDetail(), "..."))
}
