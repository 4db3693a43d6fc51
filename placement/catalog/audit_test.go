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
	ofEve, _ := list(catalog.AuditFilter{Actor: "operator:eve", Limit: 100})
	require.Equal(t, all[:1], ofEve)
	both, _ := list(catalog.AuditFilter{Actor: "operator:eve", Tenant: "acme-b", Limit: 100})
	require.Empty(t, both)
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

// lastDetail is what the newest entry tells.
func lastDetail(t *testing.T, c *catalog.Catalog) string {
	t.Helper()
	entries, _, err := c.ListAudit(t.Context(), catalog.AuditFilter{Limit: 1})
	require.NoError(t, err)
	require.LessOrEqual(t, len(entries[0].GetDetail()), 1<<10)
	return entries[0].GetDetail()
}

// TestAuditDetailsAreShort: a key may allow much, and its entry is no longer for it.
func TestAuditDetailsAreShort(t *testing.T) {
	t.Parallel()
	c, clock := newTimed(t)
	newTimedTenant(t, c, "acme")
	clock.move(time.Millisecond)
	long := tenancy.Permission{Actions: tenancy.ActionRead, Prefix: []byte(strings.Repeat("\u20ac", 1000))}
	_, err := c.CreateAPIKey(t.Context(), catalog.APIKey{ID: "k2", Tenant: "acme", Permissions: tenancy.Permissions{long}})
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(lastDetail(t, c), "\u20ac..."))

	clock.move(time.Millisecond)
	many := tenancy.Permissions{long}
	for range 49 {
		many = append(many, tenancy.Permission{Actions: tenancy.ActionRead, Namespace: strings.Repeat("n", 60)})
	}
	_, err = c.CreateAPIKey(t.Context(), catalog.APIKey{ID: "k3", Tenant: "acme", Permissions: many, Expire: clock.Now().Add(time.Hour)})
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(lastDetail(t, c), ", and 46 more, ends 2027-01-15T09:00:00Z"), lastDetail(t, c))
}

// TestAuditOfKeys: a key that leaves nothing out allows everything, however that was
// said.
func TestAuditOfKeys(t *testing.T) {
	t.Parallel()
	c, clock := newTimed(t)
	newTimedTenant(t, c, "acme")
	reads := tenancy.Permission{Actions: tenancy.ActionRead, Namespace: "default", Prefix: []byte("a/")}
	for id, test := range map[string]struct {
		permissions tenancy.Permissions
		told        string
	}{
		"none":      {nil, "everything"},
		"full":      {tenancy.FullAccess(), "everything"},
		"also-full": {append(tenancy.Permissions{reads}, tenancy.FullAccess()...), "everything"},
		"part":      {tenancy.Permissions{reads}, `read in "default" under "a/"`},
		"namespace": {
			tenancy.Permissions{{Actions: tenancy.AllActions &^ tenancy.ActionAdmin, Namespace: "default"}},
			`read|write|watch|lease|lock|queue-send|queue-receive in "default" under ""`,
		},
	} {
		clock.move(time.Millisecond)
		_, err := c.CreateAPIKey(t.Context(), catalog.APIKey{ID: id, Tenant: "acme", Permissions: test.permissions})
		require.NoError(t, err)
		require.Equal(t, "API key created: allows "+test.told, lastDetail(t, c), id)
	}
}

// TestAuditOfIssuers: an entry tells whom an issuer lets in and what they may.
func TestAuditOfIssuers(t *testing.T) {
	t.Parallel()
	c, clock := newTimed(t)
	newTimedTenant(t, c, "acme")
	issuer := &flotillav1.Issuer{Name: "ci", Issuer: "https://ci.example", Audience: "flotilla:acme"}
	set := func() string {
		t.Helper()
		clock.move(time.Millisecond)
		require.NoError(t, c.SetIssuer(t.Context(), "acme", issuer))
		return lastDetail(t, c)
	}
	rule := func(claims map[string]string, permissions ...tenancy.Permission) *flotillav1.IssuerRule {
		return &flotillav1.IssuerRule{Claims: claims, Permissions: tenancy.Permissions(permissions).Proto()}
	}
	issuer.Rules = []*flotillav1.IssuerRule{
		rule(map[string]string{"sub": "repo:acme/web:*", "ref": "main"}, tenancy.Permission{Actions: tenancy.ActionRead | tenancy.ActionWrite, Namespace: "deploys"}),
		rule(map[string]string{"groups": "sre"}, tenancy.Permission{Actions: tenancy.ActionAdmin}),
	}
	require.Equal(t, `issuer set: https://ci.example for "flotilla:acme", keys fetched: `+
		`"ref"="main" and "sub"="repo:acme/web:*" allows read|write in "deploys" under ""; "groups"="sre" allows admin in "" under ""`, set())

	issuer.Jwks = `{"keys":"of-the-issuer"}`
	issuer.Issuer += "/" + strings.Repeat("p", 490)
	issuer.Audience += ":" + strings.Repeat("a", 490)
	for i := range 14 {
		claims := make(map[string]string)
		for j := range 16 {
			claims[fmt.Sprintf("claim-%02d", j)] = strings.Repeat("v", 500)
		}
		issuer.Rules = append(issuer.Rules, rule(claims, tenancy.Permission{Actions: tenancy.ActionRead, Prefix: []byte(fmt.Sprintf("%d/%s", i, strings.Repeat("x", 400)))}))
	}
	detail := set()
	require.Contains(t, detail, ", keys given: ")
	require.NotContains(t, detail, "of-the-issuer")
	require.Contains(t, detail, `and 15 more allows read in "" under "0/xx`)
	require.True(t, strings.HasSuffix(detail, "; and 13 more"), detail)
}

// TestWhatChangesNothingIsNotAudited: an entry means that something has changed.
func TestWhatChangesNothingIsNotAudited(t *testing.T) {
	t.Parallel()
	c, clock := newTimed(t)
	ctx := t.Context()
	newTimedTenant(t, c, "acme")
	issuer := &flotillav1.Issuer{Name: "ci", Issuer: "https://ci.example", Audience: "flotilla:acme"}
	own := &flotillav1.Limits{KeysMax: 7}
	tenant := func(_ *catalog.Tenant, err error) error { return err }
	for _, step := range []struct {
		name    string
		do      func() error
		changes bool
	}{
		{"resume an active one", func() error { return tenant(c.ResumeTenant(ctx, "acme")) }, false},
		{"suspend", func() error { return tenant(c.SuspendTenant(ctx, "acme")) }, true},
		{"suspend again", func() error { return tenant(c.SuspendTenant(ctx, "acme")) }, false},
		{"resume", func() error { return tenant(c.ResumeTenant(ctx, "acme")) }, true},
		{"resume again", func() error { return tenant(c.ResumeTenant(ctx, "acme")) }, false},
		{"delete", func() error { return tenant(c.DeleteTenant(ctx, "acme", time.Hour)) }, true},
		{"resume a deleted one", func() error { return tenant(c.ResumeTenant(ctx, "acme")) }, true},
		{"limit", func() error { return tenant(c.SetTenantLimits(ctx, "acme", catalog.TenantLimits{Own: own})) }, true},
		{"limit again", func() error { return tenant(c.SetTenantLimits(ctx, "acme", catalog.TenantLimits{Own: own})) }, false},
		{"set an issuer", func() error { return c.SetIssuer(ctx, "acme", issuer) }, true},
		{"set it again", func() error { return c.SetIssuer(ctx, "acme", issuer) }, false},
	} {
		begin := clock.Now()
		clock.move(time.Second)
		require.NoError(t, step.do(), step.name)
		entries, _, err := c.ListAudit(ctx, catalog.AuditFilter{Since: begin.Add(time.Millisecond), Limit: 10})
		require.NoError(t, err)
		if !step.changes {
			require.Empty(t, entries, step.name)
			continue
		}
		require.Len(t, entries, 1, step.name)
	}
	after, err := c.ResumeTenant(ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, catalog.TenantActive, after.State, "it is answered as it is")
	require.Equal(t, uint64(7), after.Own.GetKeysMax())
}
