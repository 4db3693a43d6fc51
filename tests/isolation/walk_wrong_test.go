package isolation

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/placement/catalog"
	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// past is a moment at which everything was still good that ends then.
func past() time.Time { return time.Now().Add(-time.Second) }

// wrongOf are credentials that are let in by no port of tenants, by what is wrong.
// Those that are of the tenant would allow everything.
func wrongOf(t *testing.T, a *tenant) map[string]string {
	t.Helper()
	admin := as(a.key).tenants
	revoked, err := admin.CreateAPIKey(t.Context(), &flotillav1.CreateAPIKeyRequest{Description: "to be revoked"})
	require.NoError(t, err)
	ofRevoked := exchange(t, revoked.GetSecret(), &flotillav1.ExchangeTokenRequest{})
	_, err = admin.RevokeAPIKey(t.Context(), &flotillav1.RevokeAPIKeyRequest{Id: revoked.GetApiKey().GetId()})
	require.NoError(t, err)
	good := exchange(t, a.key, &flotillav1.ExchangeTokenRequest{})
	parts := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))
	unknown, _, err := auth.GenerateTokenKey(rand.Reader)
	require.NoError(t, err)
	signing, err := shared.node.Catalog().SigningKey(t.Context())
	require.NoError(t, err)
	forged := auth.TokenKey{ID: unknown, Private: signing.Private}
	return map[string]string{
		"no credential":       "",
		"no key":              "hello",
		"half a key":          a.key[:len(a.key)-1],
		"an unknown key":      "flk_" + strings.Repeat("a", 16) + "_" + strings.Split(a.key, "_")[2],
		"a wrong secret":      "flk_" + a.id() + "_" + strings.Repeat("a", 52),
		"an expired key":      a.newKey(t, past()),
		"a revoked key":       revoked.GetSecret(),
		"an operator":         shared.owner,
		"an expired token":    sign(t, signing.TokenKey, a, time.Hour),
		"an unsigned token":   none + "." + parts[1] + ".",
		"a changed token":     parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"an unknown signer":   sign(t, forged, a, time.Minute),
		"a revoked key's one": ofRevoked,
	}
}

// sign makes a token that was given out a while ago, for ten minutes.
func sign(t *testing.T, key auth.TokenKey, a *tenant, ago time.Duration) string {
	t.Helper()
	var cluster string
	require.NoError(t, statusOf(t, func(s *nodeStatus) { cluster = s.ClusterID }))
	issued := time.Now().Add(-ago)
	text, err := auth.SignToken(key, intercept.TokenIssuer(cluster), auth.Claims{
		Tenant: tenancy.TenantID(a.name), KeyID: a.id(), Issued: issued, Expire: issued.Add(10 * time.Minute),
	})
	require.NoError(t, err)
	return text
}

// wrongOperators are credentials that AdminService lets nobody in for.
func wrongOperators(t *testing.T) map[string]string {
	t.Helper()
	a := newTenant(t)
	made, err := admin(shared.owner).CreateOperator(t.Context(), &adminv1.CreateOperatorRequest{
		Operator: &adminv1.Operator{Name: "to-be-deleted", Role: catalog.RoleOwner},
	})
	require.NoError(t, err)
	_, err = admin(shared.owner).DeleteOperator(t.Context(), &adminv1.DeleteOperatorRequest{Name: "to-be-deleted"})
	require.NoError(t, err)
	key, expired, err := auth.GenerateOperatorKey("expired", rand.Reader)
	require.NoError(t, err)
	hash := key.Hash()
	_, err = shared.node.Catalog().CreateOperator(t.Context(), catalog.Operator{Name: "expired", SecretHash: hash[:], Role: catalog.RoleOwner, Expire: past()})
	require.NoError(t, err)
	secret := strings.Split(shared.owner, "_")[2]
	return map[string]string{
		"no credential":      "",
		"no key":             "hello",
		"half a key":         shared.owner[:len(shared.owner)-1],
		"an unknown name":    "flo_nobody_" + secret,
		"a wrong secret":     "flo_bootstrap_" + strings.Repeat("a", len(secret)),
		"a deleted operator": made.GetSecret(),
		"an expired one":     expired,
		"a tenant's key":     a.key,
		"a tenant's token":   exchange(t, a.key, &flotillav1.ExchangeTokenRequest{}),
		"basic":              "Basic " + base64.StdEncoding.EncodeToString([]byte("bootstrap:"+secret)),
	}
}
