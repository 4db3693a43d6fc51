package auth_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// TestIssuersAreOfABoundedSize: the platform keeps them in memory, for each tenant.
func TestIssuersAreOfABoundedSize(t *testing.T) {
	t.Parallel()
	rule := func(prefixBytes int) *flotillav1.IssuerRule {
		return &flotillav1.IssuerRule{
			Claims:      map[string]string{"sub": strings.Repeat("s", 500)},
			Permissions: []*flotillav1.Permission{{Actions: []flotillav1.Action{flotillav1.Action_ACTION_READ}, Prefix: make([]byte, prefixBytes)}},
		}
	}
	issuer := &flotillav1.Issuer{Name: "ci", Issuer: "https://issuer.example.com"}
	for range 16 {
		issuer.Rules = append(issuer.Rules, rule(4096))
	}
	require.NoError(t, auth.CheckIssuer("acme", issuer))
	require.Equal(t, "flotilla:acme", issuer.GetAudience())

	for _, r := range issuer.GetRules() {
		r.Permissions = append(r.Permissions, rule(4096).GetPermissions()...)
	}
	require.EqualError(t, auth.CheckIssuer("acme", issuer), "issuer takes up to 128 KiB with its keys and rules")
}
