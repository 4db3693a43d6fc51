package isolation

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/types/known/durationpb"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// TestExchangeNarrows: a token allows less than its key, never more.
func TestExchangeNarrows(t *testing.T) {
	t.Parallel()
	a := newTenant(t)
	key := a.allow(t, tenancy.Permission{Actions: read | write, Namespace: "default", Prefix: []byte("app/")}, tenancy.Permission{Actions: watch, Namespace: "default"})
	ask := func(credential string, permissions ...tenancy.Permission) (string, verdict) {
		made, err := as(credential).auth.ExchangeToken(t.Context(), &flotillav1.ExchangeTokenRequest{Permissions: tenancy.Permissions(permissions).Proto()})
		return made.GetToken(), answer{err: err}.verdict()
	}
	for name, p := range map[string]tenancy.Permission{
		"another action":   {Actions: read | lease, Namespace: "default", Prefix: []byte("app/")},
		"a wider prefix":   {Actions: read, Namespace: "default", Prefix: []byte("app")},
		"every key":        {Actions: read, Namespace: "default"},
		"every namespace":  {Actions: read, Prefix: []byte("app/")},
		"another":          {Actions: read, Namespace: "other", Prefix: []byte("app/")},
		"to administrate":  {Actions: tenancy.ActionAdmin},
		"all in one":       {Actions: read | watch, Namespace: "default"},
		"the next prefix":  {Actions: read, Namespace: "default", Prefix: []byte("app0")},
		"all of the watch": {Actions: watch},
	} {
		_, got := ask(key, p)
		require.Equal(t, denied, got, name)
	}
	token, got := ask(key, tenancy.Permission{Actions: read, Namespace: "default", Prefix: []byte("app/x/")})
	require.Equal(t, served, got)
	get := func(credential, key string) verdict {
		_, err := as(credential).kv.Get(t.Context(), &flotillav1.GetRequest{Key: []byte(key)})
		return answer{err: err}.verdict()
	}
	require.Equal(t, served, get(token, "app/x/1"))
	require.Equal(t, denied, get(token, "app/y"))
	require.Equal(t, served, get(key, "app/y"))
	_, got = ask(token)
	require.Equal(t, denied, got, "a token is not exchanged")
	conn := pb.NewKVClient(dialEtcd(t, "").conn)
	_, err := conn.Range(withToken(t.Context(), token), &pb.RangeRequest{Key: []byte("app/x/1")})
	require.NoError(t, err, "it is good on the etcd port too")

	for ttl, good := range map[time.Duration]bool{0: true, time.Second: true, 15 * time.Minute: true, 15*time.Minute + 1: false, time.Millisecond: false, -time.Second: false} {
		_, err := as(key).auth.ExchangeToken(t.Context(), &flotillav1.ExchangeTokenRequest{Ttl: durationpb.New(ttl)})
		require.Equal(t, good, err == nil, "%s: %v", ttl, err)
	}
	ends := time.Now().Add(time.Minute)
	soon, err := as(a.newKey(t, ends)).auth.ExchangeToken(t.Context(), &flotillav1.ExchangeTokenRequest{})
	require.NoError(t, err)
	require.False(t, soon.GetExpireTime().AsTime().After(ends), "it ends with its key")
}

// TestAnybodyVerifiesTokens with the public keys that the API tells, and a library
// that is not ours.
func TestAnybodyVerifiesTokens(t *testing.T) {
	t.Parallel()
	a := newTenant(t)
	text := exchange(t, a.key, &flotillav1.ExchangeTokenRequest{Permissions: tenancy.Permissions{{Actions: read, Namespace: "default"}}.Proto()})
	response, err := http.Get(shared.node.APIURL() + "/.well-known/jwks.json")
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	require.NoError(t, json.Unmarshal(body, &set))
	claims := jwt.MapClaims{}
	token, err := jwt.ParseWithClaims(text, claims, func(token *jwt.Token) (any, error) {
		for _, key := range set.Keys {
			require.Empty(t, key["d"], "the private half is told")
			if key["kid"] == token.Header["kid"] {
				require.Equal(t, "OKP", key["kty"])
				x, err := base64.RawURLEncoding.DecodeString(key["x"])
				return ed25519.PublicKey(x), err
			}
		}
		return nil, jwt.ErrTokenUnverifiable
	}, jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithAudience("flotilla"), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	require.NoError(t, err)
	require.True(t, token.Valid)
	require.Equal(t, a.name, claims["tenant"])
	require.Equal(t, a.id(), claims["sub"])
}

// TestIssuersAreOfTheirTenant: a tenant's own issuer lets callers into that tenant
// alone, as far as its rules go.
func TestIssuersAreOfTheirTenant(t *testing.T) {
	t.Parallel()
	a, b := newTenant(t), newTenant(t)
	i := newIssuer(t)
	i.record.Rules[0].Permissions = tenancy.Permissions{{Actions: read, Namespace: "default", Prefix: []byte("app/")}}.Proto()
	_, err := as(a.key).tenants.SetIssuer(t.Context(), &flotillav1.SetIssuerRequest{Issuer: i.record})
	require.NoError(t, err)
	get := func(credential, key string) verdict {
		_, err := as(credential).kv.Get(t.Context(), &flotillav1.GetRequest{Key: []byte(key)})
		return answer{err: err}.verdict()
	}
	good := i.token(t, a.name, "job-7", time.Hour)
	require.Equal(t, served, get(good, "app/x"))
	require.Equal(t, denied, get(good, "b"))
	require.Equal(t, denied, get(i.token(t, a.name, "person", time.Hour), "app/x"), "no rule is for it")
	_, err = as(good).auth.ExchangeToken(t.Context(), &flotillav1.ExchangeTokenRequest{})
	require.Equal(t, denied, answer{err: err}.verdict())
	wrong := overConnect{"Connect", shared.node.APIURL(), "proto", nil, http1(newPlace())}
	method, _ := methodNamed("KVService.Get")
	for name, credential := range map[string]string{
		"another tenant's audience":      i.token(t, b.name, "job-7", time.Hour),
		"an audience that begins so":     i.token(t, a.name+"0", "job-7", time.Hour),
		"an audience of a tenant's part": i.token(t, a.name+":prod", "job-7", time.Hour),
		"one that has ended":             i.token(t, a.name, "job-7", -2*time.Minute),
		"another's signature":            newIssuer(t).token(t, a.name, "job-7", time.Hour),
	} {
		requireVerdict(t, unauthenticated, wrong, method, name, credential, &flotillav1.GetRequest{Key: walkKey()})
	}
	// The same issuer at another tenant allows what that one says, and there alone.
	i.record.Audience = ""
	i.record.Rules[0].Permissions = tenancy.Permissions{{Actions: read}}.Proto()
	_, err = as(b.key).tenants.SetIssuer(t.Context(), &flotillav1.SetIssuerRequest{Issuer: i.record})
	require.NoError(t, err)
	require.Equal(t, served, get(i.token(t, b.name, "job-7", time.Hour), "b"))
	require.Equal(t, denied, get(good, "b"))

	i.record.Audience = "flotilla:" + a.name
	_, err = as(b.key).tenants.SetIssuer(t.Context(), &flotillav1.SetIssuerRequest{Issuer: i.record})
	require.ErrorContains(t, err, "audience", "nobody lets in for another tenant")
}
