package tenancy_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tenancy"
)

func TestPrincipalInContext(t *testing.T) {
	t.Parallel()
	_, ok := tenancy.FromContext(t.Context())
	require.False(t, ok)

	principal := &tenancy.Principal{Tenant: "acme"}
	got, ok := tenancy.FromContext(tenancy.NewContext(t.Context(), principal))
	require.True(t, ok)
	require.Same(t, principal, got)
}

func TestPrincipalCheck(t *testing.T) {
	t.Parallel()
	principal := &tenancy.Principal{
		Tenant:      "acme",
		Permissions: tenancy.Permissions{{Actions: tenancy.ActionRead}},
	}
	require.NoError(t, principal.Check(tenancy.ActionRead, "default", tenancy.AllKeys()))
	require.ErrorIs(t, principal.Check(tenancy.ActionWrite, "default", tenancy.AllKeys()), tenancy.ErrPermissionDenied)
}

func TestRenew(t *testing.T) {
	t.Parallel()
	before, after := &tenancy.Principal{Tenant: "a"}, &tenancy.Principal{Tenant: "a", Weight: 2}
	ctx := tenancy.NewContext(context.Background(), before)
	derived := context.WithoutCancel(ctx)
	tenancy.Renew(derived, after)
	for _, c := range []context.Context{ctx, derived} {
		found, ok := tenancy.FromContext(c)
		require.True(t, ok)
		require.Same(t, after, found)
	}
	tenancy.Renew(context.Background(), after) // carries none
}
