package tenancy_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tenancy"
)

func TestValidateName(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("a", tenancy.NameBytesMax)
	for _, name := range []string{"a", "0", "default", "team-7", "a--b", longest} {
		require.NoError(t, tenancy.ValidateName("namespace", name), name)
	}
	for _, name := range []string{"", "-", "-a", "a-", "A", "a b", "a_b", "a.b", "a/b", "ä", "a\x00", longest + "a"} {
		err := tenancy.ValidateName("namespace", name)
		var invalid *tenancy.InvalidNameError
		require.ErrorAs(t, err, &invalid, name)
		require.Equal(t, "namespace", invalid.What)
		require.Equal(t, name, invalid.Name)
	}
}

func TestValidateTenantKeepsThePlatformsNames(t *testing.T) {
	t.Parallel()
	require.NoError(t, tenancy.ValidateTenant("flotilla"))
	require.NoError(t, tenancy.ValidateTenant("acme"))
	require.Error(t, tenancy.ValidateTenant(tenancy.SystemTenant))
	require.Error(t, tenancy.ValidateTenant("flotilla-new"))
	require.Error(t, tenancy.ValidateTenant("Acme"))
}

func TestInvalidNameErrorIsShort(t *testing.T) {
	t.Parallel()
	err := tenancy.ValidateName("tenant", strings.Repeat("x", 1<<20))
	require.ErrorContains(t, err, "cannot be the name of a tenant")
	require.ErrorContains(t, tenancy.ValidateName("operator", "A"), "cannot be the name of an operator")
	require.Less(t, len(err.Error()), 300)
}
