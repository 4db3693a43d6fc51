package isolation

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// openFor is how long credentials last that end by themselves: a busy machine opens all
// streams meanwhile.
const openFor = 20 * time.Second

// issuer is an OpenID Connect issuer whose keys a tenant has given with it.
type issuer struct {
	private ed25519.PrivateKey
	record  *flotillav1.Issuer
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public, KeyID: "one"}}})
	require.NoError(t, err)
	return &issuer{private, &flotillav1.Issuer{
		Name: "ci", Issuer: "https://ci.example", Jwks: string(jwks),
		Rules: []*flotillav1.IssuerRule{{Claims: map[string]string{"sub": "job-*"}, Permissions: tenancy.FullAccess().Proto()}},
	}}
}

// token is a token of the issuer for a tenant.
func (i *issuer) token(t *testing.T, tenant, subject string, lasts time.Duration) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": i.record.GetIssuer(), "aud": "flotilla:" + tenant, "sub": subject, "exp": time.Now().Add(lasts).Unix(),
	})
	token.Header["kid"] = "one"
	text, err := token.SignedString(i.private)
	require.NoError(t, err)
	return text
}

// TestStreamsEndWithTheirCredential opens streams of all kinds, which tell nothing,
// and ends the credential in every way that there is.
func TestStreamsEndWithTheirCredential(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(t *testing.T, a *tenant) (credential string, end func()){
		"a key that is revoked": func(t *testing.T, a *tenant) (string, func()) {
			t.Helper()
			made, err := as(a.key).tenants.CreateAPIKey(t.Context(), &flotillav1.CreateAPIKeyRequest{})
			require.NoError(t, err)
			return made.GetSecret(), func() {
				_, err := as(a.key).tenants.RevokeAPIKey(t.Context(), &flotillav1.RevokeAPIKeyRequest{Id: made.GetApiKey().GetId()})
				require.NoError(t, err)
			}
		},
		"a key that is replaced without an overlap": func(t *testing.T, a *tenant) (string, func()) {
			t.Helper()
			made, err := as(a.key).tenants.CreateAPIKey(t.Context(), &flotillav1.CreateAPIKeyRequest{})
			require.NoError(t, err)
			return made.GetSecret(), func() {
				_, err := as(a.key).tenants.RotateAPIKey(t.Context(), &flotillav1.RotateAPIKeyRequest{Id: made.GetApiKey().GetId(), Overlap: durationpb.New(0)})
				require.NoError(t, err)
			}
		},
		"a key that expires": func(t *testing.T, a *tenant) (string, func()) {
			t.Helper()
			at := time.Now().Add(openFor)
			made, err := as(a.key).tenants.CreateAPIKey(t.Context(), &flotillav1.CreateAPIKeyRequest{ExpireTime: timestamppb.New(at)})
			require.NoError(t, err)
			return made.GetSecret(), func() { <-time.After(time.Until(at)) }
		},
		"a token that ends": func(t *testing.T, a *tenant) (string, func()) {
			t.Helper()
			made, err := as(a.key).auth.ExchangeToken(t.Context(), &flotillav1.ExchangeTokenRequest{Ttl: durationpb.New(openFor)})
			require.NoError(t, err)
			return made.GetToken(), func() { <-time.After(time.Until(made.GetExpireTime().AsTime())) }
		},
		"a token of a key that is revoked": func(t *testing.T, a *tenant) (string, func()) {
			t.Helper()
			key := a.allow(t, tenancy.FullAccess()...)
			return exchange(t, key, &flotillav1.ExchangeTokenRequest{}), func() {
				_, err := as(a.key).tenants.RevokeAPIKey(t.Context(), &flotillav1.RevokeAPIKeyRequest{Id: idOf(key)})
				require.NoError(t, err)
			}
		},
		"an issuer that is deleted": func(t *testing.T, a *tenant) (string, func()) {
			t.Helper()
			i := newIssuer(t)
			_, err := as(a.key).tenants.SetIssuer(t.Context(), &flotillav1.SetIssuerRequest{Issuer: i.record})
			require.NoError(t, err)
			return i.token(t, a.name, "job-1", time.Hour), func() {
				_, err := as(a.key).tenants.DeleteIssuer(t.Context(), &flotillav1.DeleteIssuerRequest{Name: "ci"})
				require.NoError(t, err)
			}
		},
		"a tenant that is suspended": func(t *testing.T, a *tenant) (string, func()) {
			t.Helper()
			return a.key, func() {
				_, err := admin(shared.owner).SuspendTenant(t.Context(), &adminv1.SuspendTenantRequest{Tenant: a.name})
				require.NoError(t, err)
			}
		},
		"a tenant that is deleted": func(t *testing.T, a *tenant) (string, func()) {
			t.Helper()
			return a.key, func() {
				_, err := admin(shared.owner).DeleteTenant(t.Context(), &adminv1.DeleteTenantRequest{Tenant: a.name})
				require.NoError(t, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newTenant(t)
			credential, end := run(t, a)
			streams := openStreams(t, a.key, credential)
			require.Len(t, streams, 10)
			requireOpen(t, streams)
			end()
			requireEnded(t, streams)
			require.Eventually(t, func() bool { // tokens last 2 s longer, for clocks that are apart
				_, err := as(credential).kv.Get(t.Context(), &flotillav1.GetRequest{Key: walkKey()})
				got := answer{err: err}.verdict()
				return got == unauthenticated || got == denied
			}, endMax, 10*time.Millisecond)
		})
	}
}

// TestRotationOverlaps: in the overlap both keys are good, and the one that replaces is
// afterwards.
func TestRotationOverlaps(t *testing.T) {
	t.Parallel()
	a := newTenant(t)
	const overlap = 10 * time.Second // a busy machine makes all calls meanwhile
	old := a.allow(t, tenancy.Permission{Actions: read, Namespace: "default"})
	rotated, err := as(a.key).tenants.RotateAPIKey(t.Context(), &flotillav1.RotateAPIKeyRequest{Id: idOf(old), Overlap: durationpb.New(overlap)})
	require.NoError(t, err)
	require.Equal(t, idOf(rotated.GetSecret()), rotated.GetReplaced().GetReplacedBy())
	get := func(key string) verdict {
		_, err := as(key).kv.Range(t.Context(), &flotillav1.RangeRequest{})
		return answer{err: err}.verdict()
	}
	require.Equal(t, served, get(old))
	require.Equal(t, served, get(rotated.GetSecret()))
	_, err = as(rotated.GetSecret()).kv.Put(t.Context(), &flotillav1.PutRequest{Key: walkKey()})
	require.Equal(t, denied, answer{err: err}.verdict(), "it allows the same")
	require.Eventually(t, func() bool { return get(old) == unauthenticated }, overlap+endMax, 10*time.Millisecond)
	require.False(t, time.Now().Before(rotated.GetReplaced().GetExpireTime().AsTime()), "it ended too early")
	require.Equal(t, served, get(rotated.GetSecret()))
	_, err = as(a.key).tenants.RevokeAPIKey(t.Context(), &flotillav1.RevokeAPIKeyRequest{Id: a.id()})
	require.ErrorContains(t, err, "last API key")
}

// TestSuspendedTenantsComeBack with all that they had.
func TestSuspendedTenantsComeBack(t *testing.T) {
	t.Parallel()
	a := newTenant(t)
	put, err := as(a.key).kv.Put(t.Context(), &flotillav1.PutRequest{Key: walkKey(), Value: []byte("kept")})
	require.NoError(t, err)
	operators := admin(shared.owner)
	for _, away := range []func() error{
		func() error {
			_, err := operators.SuspendTenant(t.Context(), &adminv1.SuspendTenantRequest{Tenant: a.name})
			return err
		},
		func() error {
			_, err := operators.DeleteTenant(t.Context(), &adminv1.DeleteTenantRequest{Tenant: a.name, Grace: durationpb.New(time.Hour)})
			return err
		},
	} {
		require.NoError(t, away())
		_, err = as(a.key).kv.Get(t.Context(), &flotillav1.GetRequest{Key: walkKey()})
		require.Equal(t, denied, answer{err: err}.verdict())
		require.ErrorContains(t, err, "suspended or being deleted")
		_, err = operators.ResumeTenant(t.Context(), &adminv1.ResumeTenantRequest{Tenant: a.name})
		require.NoError(t, err)
		got, err := as(a.key).kv.Get(t.Context(), &flotillav1.GetRequest{Key: walkKey()})
		require.NoError(t, err)
		require.Equal(t, put.GetRevision(), got.GetKv().GetModRevision())
	}
}
