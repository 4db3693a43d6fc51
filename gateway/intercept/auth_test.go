package intercept

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// records are those of a catalog, and what was looked up in them.
type records struct {
	keys    map[string]*catalog.APIKey
	tenants map[tenancy.TenantID]*catalog.Tenant
	signers map[string]*catalog.TokenKey
	issuers map[tenancy.TenantID]*catalog.Issuers
	down    error
	looked  []string
}

func find[K comparable, V any](r *records, what string, in map[K]*V, key K, absent error) (*V, error) {
	r.looked = append(r.looked, what)
	if r.down != nil {
		return nil, r.down
	}
	if found, ok := in[key]; ok {
		return found, nil
	}
	return nil, absent
}

func (r *records) APIKey(_ context.Context, id string) (*catalog.APIKey, error) {
	return find(r, "key", r.keys, id, tenancy.ErrUnauthenticated)
}

func (r *records) Tenant(_ context.Context, id tenancy.TenantID) (*catalog.Tenant, error) {
	return find(r, "tenant", r.tenants, id, tenancy.ErrTenantNotFound)
}

func (r *records) TokenKey(_ context.Context, id string) (*catalog.TokenKey, error) {
	return find(r, "token key", r.signers, id, tenancy.ErrUnauthenticated)
}

func (r *records) Issuers(_ context.Context, id tenancy.TenantID) (*catalog.Issuers, error) {
	r.looked = append(r.looked, "issuers")
	if found, ok := r.issuers[id]; ok && r.down == nil {
		return found, nil
	}
	return &catalog.Issuers{}, r.down
}

// fixture is an authenticator over records of one tenant with one key.
type fixture struct {
	*Authenticator
	records *records
	now     time.Time
	key     *catalog.APIKey
	text    string
	signer  auth.TokenKey
}

const fixtureCluster = "5a0c4b3e-7f35-4f0f-8d2a-0c8b6a4f2d10"

func newFixture(t *testing.T) *fixture {
	t.Helper()
	key, text, err := auth.GenerateAPIKey(rand.Reader)
	require.NoError(t, err)
	hash := key.Hash()
	id, seed, err := auth.GenerateTokenKey(rand.Reader)
	require.NoError(t, err)
	signer, err := auth.NewTokenKey(id, seed)
	require.NoError(t, err)
	f := &fixture{
		now: time.Unix(1_800_000_000, 0), text: text, signer: signer,
		key: &catalog.APIKey{ID: key.ID(), Tenant: "acme", SecretHash: hash[:], Permissions: tenancy.FullAccess()},
	}
	f.records = &records{
		keys:    map[string]*catalog.APIKey{key.ID(): f.key},
		tenants: map[tenancy.TenantID]*catalog.Tenant{"acme": {ID: "acme", State: catalog.TenantActive, Weight: 3, Limits: tenancy.Limits{KeysMax: 7}}},
		signers: map[string]*catalog.TokenKey{id: {TokenKey: signer}},
		issuers: make(map[tenancy.TenantID]*catalog.Issuers),
	}
	now := func() time.Time { return f.now }
	f.Authenticator = NewAuthenticator(AuthConfig{
		Records: f.records, ClusterID: fixtureCluster, Guard: NewGuard(now, prometheus.NewRegistry()), Now: now,
	})
	return f
}

func (f *fixture) credential(t *testing.T, text string) (*tenancy.Principal, error) {
	t.Helper()
	return f.Credential(t.Context(), text, "")
}

func (f *fixture) token(t *testing.T, change func(*auth.Claims)) string {
	t.Helper()
	claims := auth.Claims{Tenant: "acme", KeyID: f.key.ID, Issued: f.now, Expire: f.now.Add(10 * time.Minute)}
	change(&claims)
	text, err := auth.SignToken(f.signer, TokenIssuer(fixtureCluster), claims)
	require.NoError(t, err)
	return text
}

func unchanged(*auth.Claims) {}

func TestAPIKeyCredential(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	p, err := f.credential(t, f.text)
	require.NoError(t, err)
	require.Equal(t, &tenancy.Principal{Tenant: "acme", KeyID: f.key.ID, Permissions: tenancy.FullAccess(), Limits: tenancy.Limits{KeysMax: 7}, Weight: 3}, p)

	f.key.Expire = f.now.Add(time.Second)
	_, err = f.credential(t, f.text)
	require.NoError(t, err)
	f.now = f.key.Expire
	_, err = f.credential(t, f.text)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated, "at its end a key has ended")
	f.key.Expire = time.Time{}

	for state, want := range map[catalog.TenantState]error{
		catalog.TenantSuspended: tenancy.ErrTenantSuspended, catalog.TenantDeleting: tenancy.ErrTenantSuspended, catalog.TenantActive: nil,
	} {
		f.records.tenants["acme"].State = state
		_, err = f.credential(t, f.text)
		require.ErrorIs(t, err, want)
	}
	delete(f.records.tenants, "acme")
	_, err = f.credential(t, f.text)
	require.Equal(t, tenancy.ErrUnauthenticated, err, "its keys are being removed")

	f.records.down = errors.New("the catalog cannot be reached")
	_, err = f.credential(t, f.text)
	require.Equal(t, f.records.down, err, "nobody is told that a key is wrong which was not looked at")
}

// TestUnknownKeysTakeTheSamePath: what is looked up and what is told must not show
// whether a key of this id exists.
func TestUnknownKeysTakeTheSamePath(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	secret := strings.Split(f.text, "_")[2]
	other := strings.Repeat("a", len(secret))
	expired := *f.key
	expired.ID, expired.Expire = strings.Repeat("b", 16), f.now
	ofGone := *f.key
	ofGone.ID, ofGone.Tenant = strings.Repeat("c", 16), "gone"
	f.records.keys[expired.ID], f.records.keys[ofGone.ID] = &expired, &ofGone
	for _, id := range []string{strings.Repeat("d", 16), f.key.ID, expired.ID, ofGone.ID} {
		f.records.looked = nil
		_, err := f.credential(t, "flk_"+id+"_"+other)
		require.Equal(t, tenancy.ErrUnauthenticated, err)
		require.Equal(t, []string{"key"}, f.records.looked, id)
	}
}

func TestTokenCredential(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	narrow := tenancy.Permissions{{Actions: tenancy.ActionRead}}
	text := f.token(t, func(c *auth.Claims) { c.Permissions = narrow })
	for range 2 { // verified, and from memory
		p, err := f.credential(t, text)
		require.NoError(t, err)
		require.True(t, p.FromToken)
		require.Equal(t, narrow, p.Permissions)
		require.Equal(t, f.now.Add(10*time.Minute), p.Expire)
		require.NoError(t, f.StillValid(tenancy.NewContext(t.Context(), p)))
	}
	p, err := f.credential(t, f.token(t, unchanged))
	require.NoError(t, err)
	require.Equal(t, tenancy.FullAccess(), p.Permissions, "what the key allows")

	f.key.Expire = f.now.Add(time.Minute)
	p, err = f.credential(t, text)
	require.NoError(t, err)
	require.Equal(t, f.key.Expire, p.Expire, "it ends with its key")
	ctx := tenancy.NewContext(t.Context(), p)
	f.now = f.key.Expire
	_, err = f.credential(t, text)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated)
	require.ErrorIs(t, f.StillValid(ctx), tenancy.ErrUnauthenticated)
	f.key.Expire = time.Time{}
	f.key.Tenant = "other"
	_, err = f.credential(t, text)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated, "a key of another tenant")
	f.key.Tenant = "acme"
	_, err = f.credential(t, text)
	require.NoError(t, err)
	delete(f.records.keys, f.key.ID)
	_, err = f.credential(t, text)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated, "it was revoked")
	f.records.keys[f.key.ID] = f.key
	f.now = f.now.Add(time.Hour)
	_, err = f.credential(t, text)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated, "what is remembered ends as well")
}

// issuerToken is a token of an issuer that the tenant has, by the key of the fixture.
func (f *fixture) issuerToken(t *testing.T, url string) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": url, "aud": "flotilla:acme", "sub": "x", "exp": f.now.Add(time.Hour).Unix(),
	})
	token.Header["kid"] = "one"
	text, err := token.SignedString(f.signer.Private)
	require.NoError(t, err)
	return text
}

func (f *fixture) issuer(t *testing.T, name string, public ed25519.PublicKey) *flotillav1.Issuer {
	t.Helper()
	jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public, KeyID: "one"}}})
	require.NoError(t, err)
	return &flotillav1.Issuer{
		Name: name, Issuer: "https://" + name + ".example", Audience: "flotilla:acme", Jwks: string(jwks),
		Rules: []*flotillav1.IssuerRule{{Claims: map[string]string{"sub": "x"}, Permissions: tenancy.Permissions{{Actions: tenancy.ActionWatch}}.Proto()}},
	}
}

func TestIssuerCredential(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	text := f.issuerToken(t, "https://ci.example")
	_, err := f.credential(t, text)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated, "the tenant has no issuer")

	f.records.issuers["acme"] = &catalog.Issuers{Revision: 5, List: []*flotillav1.Issuer{f.issuer(t, "other", f.signer.Public()), f.issuer(t, "ci", f.signer.Public())}}
	p, err := f.credential(t, text)
	require.NoError(t, err)
	require.Equal(t, &tenancy.Principal{
		Tenant: "acme", Issuer: "ci", IssuerRevision: 5, FromToken: true, Permissions: tenancy.Permissions{{Actions: tenancy.ActionWatch}},
		Expire: f.now.Add(time.Hour + time.Minute), Limits: tenancy.Limits{KeysMax: 7}, Weight: 3,
	}, p)
	require.Equal(t, "issuer:acme/ci", p.Actor())
	ctx := tenancy.NewContext(t.Context(), p)
	require.NoError(t, f.StillValid(ctx))

	f.records.tenants["acme"].State = catalog.TenantSuspended
	_, err = f.credential(t, text)
	require.ErrorIs(t, err, tenancy.ErrTenantSuspended)
	require.ErrorIs(t, f.StillValid(ctx), tenancy.ErrTenantSuspended)
	f.records.tenants["acme"].State = catalog.TenantActive

	stranger, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	f.records.issuers["acme"] = &catalog.Issuers{Revision: 6, List: []*flotillav1.Issuer{f.issuer(t, "ci", stranger)}}
	require.ErrorIs(t, f.StillValid(ctx), tenancy.ErrUnauthenticated, "the issuer was changed")
	_, err = f.credential(t, text)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated, "what is remembered does not outlive it")
}

// TestIssuerKeysThatAreGivenUp: a token that was verified is verified again after a
// while, since its issuer may not stand by the key any more.
func TestIssuerKeysThatAreGivenUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	issuer := f.issuer(t, "ci", f.signer.Public())
	fetched := &fetchedKeys{text: issuer.GetJwks()}
	issuer.Jwks = ""
	f.tokens.keys = fetched
	f.records.issuers["acme"] = &catalog.Issuers{Revision: 5, List: []*flotillav1.Issuer{issuer}}
	text := f.issuerToken(t, "https://ci.example")
	_, err := f.credential(t, text)
	require.NoError(t, err)
	stranger, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	fetched.text = f.issuer(t, "ci", stranger).GetJwks()
	f.now = f.now.Add(9 * time.Minute)
	_, err = f.credential(t, text)
	require.NoError(t, err)
	require.Equal(t, 1, fetched.asked, "it was remembered")
	f.now = f.now.Add(time.Minute)
	_, err = f.credential(t, text)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated)

	require.False(t, f.IssuerFailed(issuer))

	fetched.down = true
	_, err = f.credential(t, text)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated, "who cannot be known is told no more than a stranger")
	require.ErrorIs(t, err, tenancy.ErrIssuerUnreachable, "the log is")
	require.True(t, f.IssuerFailed(issuer))
	f.tokens.keys = nil
	_, err = f.credential(t, text)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated)
}

// fetchedKeys are an issuer's keys as its server tells them.
type fetchedKeys struct {
	text  string
	asked int
	down  bool
}

func (k *fetchedKeys) Find(context.Context, string, string) (*auth.IssuerKeys, error) {
	k.asked++
	if k.down {
		return nil, tenancy.ErrIssuerUnreachable
	}
	return auth.ParseIssuerKeys([]byte(k.text))
}

func (k *fetchedKeys) Failed(string) bool { return k.down }

func TestCertificates(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.key.ID
	for name, good := range map[string]bool{
		id: true, "acme/default/" + id: true, "other/default/" + id: false, "acme/default": false,
		strings.Repeat("d", 16): false, "n1": false, "": false,
	} {
		_, err := f.Authenticate(t.Context(), Caller{CommonName: name})
		require.Equal(t, good, err == nil, "%q: %v", name, err)
		if !good {
			require.ErrorIs(t, err, tenancy.ErrUnauthenticated)
		}
	}
	_, err := f.Authenticate(t.Context(), Caller{CommonName: id, Authorization: "Bearer wrong"})
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated, "a credential that is sent is what counts")
	f.key.Expire = f.now
	_, err = f.Authenticate(t.Context(), Caller{CommonName: id})
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated)
}

func TestStillValidFollowsLimits(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	p, err := f.credential(t, f.text)
	require.NoError(t, err)
	ctx := tenancy.NewContext(t.Context(), p)
	f.records.tenants["acme"] = &catalog.Tenant{ID: "acme", State: catalog.TenantActive, Weight: 5, Limits: tenancy.Limits{KeysMax: 9}}
	require.NoError(t, f.StillValid(ctx))
	renewed, ok := tenancy.FromContext(ctx)
	require.True(t, ok)
	require.Equal(t, 9, renewed.Limits.KeysMax)
	require.Equal(t, 5, renewed.Weight)
	delete(f.records.keys, f.key.ID)
	require.ErrorIs(t, f.StillValid(ctx), tenancy.ErrUnauthenticated)
	require.ErrorIs(t, f.StillValid(t.Context()), tenancy.ErrUnauthenticated, "nobody")
}
