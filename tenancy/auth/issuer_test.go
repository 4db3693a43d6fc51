package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

const issuerURL = "https://issuer.example"

// issuerKeys are keys of an issuer, one of each kind, by their ids.
var issuerKeys = sync.OnceValue(func() map[string]crypto.Signer {
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{"rsa": rsaKey, "p256": p256, "p384": p384, "ed": ed}
})

// keySet spells public keys as an issuer does.
func keySet(tb testing.TB, keys ...jose.JSONWebKey) []byte {
	tb.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	require.NoError(tb, err)
	return text
}

func publicKeys(tb testing.TB) *auth.IssuerKeys {
	tb.Helper()
	var list []jose.JSONWebKey
	for id, key := range issuerKeys() {
		list = append(list, jose.JSONWebKey{Key: key.Public(), KeyID: id, Use: "sig"})
	}
	keys, err := auth.ParseIssuerKeys(keySet(tb, list...))
	require.NoError(tb, err)
	return keys
}

// issued is a token as an issuer makes one, which a test changes.
type issued struct {
	header map[string]any
	claims jwt.MapClaims
	method jwt.SigningMethod
	key    any
}

var issuedAt = time.Unix(1_800_000_000, 0)

func newIssued() *issued {
	return &issued{
		header: map[string]any{"kid": "rsa"}, method: jwt.SigningMethodRS256, key: issuerKeys()["rsa"],
		claims: jwt.MapClaims{
			"iss": issuerURL, "aud": "flotilla:acme", "sub": "repo:acme/app:main", "groups": []string{"dev", "ops-eu"},
			"iat": issuedAt.Unix(), "exp": issuedAt.Add(10 * time.Minute).Unix(), "level": 7,
		},
	}
}

func (i *issued) sign(tb testing.TB) string {
	tb.Helper()
	token := jwt.NewWithClaims(i.method, i.claims)
	maps.Copy(token.Header, i.header)
	text, err := token.SignedString(i.key)
	require.NoError(tb, err)
	return text
}

func issuerOf(rules ...*flotillav1.IssuerRule) *flotillav1.Issuer {
	return &flotillav1.Issuer{Name: "ci", Issuer: issuerURL, Audience: "flotilla:acme", Rules: rules}
}

func rule(action flotillav1.Action, claims ...string) *flotillav1.IssuerRule {
	r := &flotillav1.IssuerRule{Claims: map[string]string{}, Permissions: []*flotillav1.Permission{{Actions: []flotillav1.Action{action}}}}
	for i := 0; i < len(claims); i += 2 {
		r.Claims[claims[i]] = claims[i+1]
	}
	return r
}

var anySub = rule(flotillav1.Action_ACTION_READ, "sub", "*")

func TestIssuerTokenOfEachKind(t *testing.T) {
	t.Parallel()
	for id, method := range map[string]jwt.SigningMethod{
		"rsa": jwt.SigningMethodPS512, "p256": jwt.SigningMethodES256, "p384": jwt.SigningMethodES384, "ed": jwt.SigningMethodEdDSA,
	} {
		i := newIssued()
		i.header["kid"], i.key, i.method = id, issuerKeys()[id], method
		text := i.sign(t)
		peeked, err := auth.PeekIssuerToken(text)
		require.NoError(t, err)
		require.Equal(t, auth.IssuerToken{Tenant: "acme", Issuer: issuerURL, KeyID: id}, peeked)
		permissions, expire, err := auth.VerifyIssuerToken(text, issuerOf(anySub), publicKeys(t), issuedAt)
		require.NoError(t, err, id)
		require.Equal(t, tenancy.Permissions{{Actions: tenancy.ActionRead}}, permissions)
		require.Equal(t, issuedAt.Add(11*time.Minute), expire.UTC().Local(), "60 s after the claim")
	}
}

func TestIssuerTokensThatAreNone(t *testing.T) {
	t.Parallel()
	public, ok := issuerKeys()["rsa"].Public().(*rsa.PublicKey)
	require.True(t, ok)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for name, change := range map[string]func(*issued){
		"another issuer":         func(i *issued) { i.claims["iss"] = issuerURL + "/" },
		"no issuer":              func(i *issued) { delete(i.claims, "iss") },
		"another audience":       func(i *issued) { i.claims["aud"] = "flotilla:acme:prod" },
		"another tenant":         func(i *issued) { i.claims["aud"] = "flotilla:acme-b" },
		"the platform's":         func(i *issued) { i.claims["aud"] = "flotilla" },
		"no audience":            func(i *issued) { delete(i.claims, "aud") },
		"no expiry":              func(i *issued) { delete(i.claims, "exp") },
		"an expiry of text":      func(i *issued) { i.claims["exp"] = "tomorrow" },
		"expired":                func(i *issued) { i.claims["exp"] = issuedAt.Add(-61 * time.Second).Unix() },
		"not yet valid":          func(i *issued) { i.claims["nbf"] = issuedAt.Add(61 * time.Second).Unix() },
		"issued later":           func(i *issued) { i.claims["iat"] = issuedAt.Add(61 * time.Second).Unix() },
		"never valid":            func(i *issued) { i.claims["nbf"] = 1e99 },
		"never issued":           func(i *issued) { i.claims["iat"] = 1e30 },
		"milliseconds":           func(i *issued) { i.claims["exp"] = issuedAt.UnixMilli() },
		"another algorithm":      func(i *issued) { i.method, i.key, i.header["kid"] = jwt.SigningMethodRS256, stranger, "p256" },
		"an unknown key":         func(i *issued) { i.header["kid"] = "none" },
		"no key":                 func(i *issued) { delete(i.header, "kid") },
		"a key of a number":      func(i *issued) { i.header["kid"] = 1 },
		"signed by another":      func(i *issued) { i.key = stranger },
		"alg none":               func(i *issued) { i.method, i.key = jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType },
		"HMAC by the public key": func(i *issued) { i.method, i.key = jwt.SigningMethodHS256, public.N.Bytes() },
		"an extension":           func(i *issued) { i.header["crit"] = []string{"b64"} },
	} {
		i := newIssued()
		change(i)
		_, _, err := auth.VerifyIssuerToken(i.sign(t), issuerOf(anySub), publicKeys(t), issuedAt)
		require.ErrorIs(t, err, auth.ErrBadToken, name)
	}
	i := newIssued()
	text := i.sign(t)
	forged := raw(`{"alg":"HS256","kid":"rsa"}`, `{"iss":"`+issuerURL+`","aud":"flotilla:acme","sub":"x","exp":1800000100}`, func(in []byte) []byte {
		mac := hmac.New(sha256.New, keySet(t, jose.JSONWebKey{Key: public, KeyID: "rsa"}))
		mac.Write(in)
		return mac.Sum(nil)
	})
	for _, text := range []string{"", "ey.ey.ey", text[:len(text)-4], text + strings.Repeat("A", 16<<10), forged} {
		_, _, err := auth.VerifyIssuerToken(text, issuerOf(anySub), publicKeys(t), issuedAt)
		require.ErrorIs(t, err, auth.ErrBadToken)
	}
}

// TestIssuerTokenLeeway: clocks may be 60 s apart, either way.
func TestIssuerTokenLeeway(t *testing.T) {
	t.Parallel()
	i := newIssued()
	i.claims["nbf"] = i.claims["iat"]
	text := i.sign(t)
	for now, good := range map[time.Duration]bool{
		-61 * time.Second: false, -60 * time.Second: true, 0: true,
		10*time.Minute + 59*time.Second: true, 11 * time.Minute: false,
	} {
		_, _, err := auth.VerifyIssuerToken(text, issuerOf(anySub), publicKeys(t), issuedAt.Add(now))
		require.Equal(t, good, err == nil, "%s: %v", now, err)
	}
}

func TestIssuerRules(t *testing.T) {
	t.Parallel()
	const read, write = flotillav1.Action_ACTION_READ, flotillav1.Action_ACTION_WRITE
	for name, test := range map[string]struct {
		rules []*flotillav1.IssuerRule
		want  tenancy.Action
	}{
		"the whole value":         {[]*flotillav1.IssuerRule{rule(read, "sub", "repo:acme/app:main")}, tenancy.ActionRead},
		"a prefix without a star": {[]*flotillav1.IssuerRule{rule(read, "sub", "repo:acme/")}, 0},
		"a prefix":                {[]*flotillav1.IssuerRule{rule(read, "sub", "repo:acme/*")}, tenancy.ActionRead},
		"a star in the middle":    {[]*flotillav1.IssuerRule{rule(read, "sub", "repo:*:main")}, 0},
		"another prefix":          {[]*flotillav1.IssuerRule{rule(read, "sub", "repo:acme-b/*")}, 0},
		"one of a list":           {[]*flotillav1.IssuerRule{rule(read, "groups", "dev")}, tenancy.ActionRead},
		"a prefix in a list":      {[]*flotillav1.IssuerRule{rule(read, "groups", "ops-*")}, tenancy.ActionRead},
		"none of a list":          {[]*flotillav1.IssuerRule{rule(read, "groups", "ops")}, 0},
		"a claim that is not":     {[]*flotillav1.IssuerRule{rule(read, "email", "*")}, 0},
		"a number":                {[]*flotillav1.IssuerRule{rule(read, "level", "7")}, 0},
		"two claims":              {[]*flotillav1.IssuerRule{rule(read, "sub", "*", "groups", "dev")}, tenancy.ActionRead},
		"one claim of two":        {[]*flotillav1.IssuerRule{rule(read, "sub", "*", "groups", "admins")}, 0},
		"two rules":               {[]*flotillav1.IssuerRule{rule(read, "sub", "*"), rule(write, "groups", "dev")}, tenancy.ActionRead | tenancy.ActionWrite},
		"one rule of two":         {[]*flotillav1.IssuerRule{rule(read, "sub", "x"), rule(write, "groups", "dev")}, tenancy.ActionWrite},
	} {
		permissions, _, err := auth.VerifyIssuerToken(newIssued().sign(t), issuerOf(test.rules...), publicKeys(t), issuedAt)
		if test.want == 0 {
			require.ErrorIs(t, err, tenancy.ErrPermissionDenied, name)
			continue
		}
		require.NoError(t, err, name)
		var got tenancy.Action
		for _, p := range permissions {
			got |= p.Actions
		}
		require.Equal(t, test.want, got, name)
	}
}

// TestPeekIssuerToken: nobody is asked about a token before it is clear whose it is.
func TestPeekIssuerToken(t *testing.T) {
	t.Parallel()
	for name, audience := range map[string]any{
		"no audience": nil, "another": "acme", "the platform's": "flotilla", "no tenant": "flotilla:", "a bad tenant": "flotilla:A",
		"a path": "flotilla:a/b", "two tenants": []string{"flotilla:a", "flotilla:b:prod"},
	} {
		i := newIssued()
		i.claims["aud"] = audience
		_, err := auth.PeekIssuerToken(i.sign(t))
		require.ErrorIs(t, err, auth.ErrBadToken, name)
	}
	i := newIssued()
	i.claims["aud"] = []string{"other", "flotilla:acme:prod", "flotilla:acme"}
	peeked, err := auth.PeekIssuerToken(i.sign(t))
	require.NoError(t, err)
	require.Equal(t, tenancy.TenantID("acme"), peeked.Tenant)
}

func TestParseIssuerKeys(t *testing.T) {
	t.Parallel()
	good := jose.JSONWebKey{Key: issuerKeys()["p256"].Public(), KeyID: "a", Use: "sig"}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	long := &rsa.PublicKey{N: new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 8192), big.NewInt(1)), E: 65537}
	p521 := jose.JSONWebKey{Key: []byte("a secret that is shared"), KeyID: "b"}
	keys, err := auth.ParseIssuerKeys(keySet(t, good, p521))
	require.NoError(t, err, "what is of no use is left out")
	require.True(t, keys.Has("a"))
	require.True(t, keys.Has(""), "there is one key alone")
	require.False(t, keys.Has("b"))
	for name, text := range map[string]string{
		"nothing":          "",
		"no JSON":          "{",
		"no keys":          `{"keys":[]}`,
		"too many":         `{"keys":[` + strings.Repeat(`{},`, 64) + `{}]}`,
		"a short RSA key":  string(keySet(t, jose.JSONWebKey{Key: &small.PublicKey, KeyID: "s"})),
		"a long RSA key":   string(keySet(t, jose.JSONWebKey{Key: long, KeyID: "l"})),
		"a private key":    string(keySet(t, jose.JSONWebKey{Key: issuerKeys()["p256"], KeyID: "p"})),
		"a shared secret":  string(keySet(t, p521)),
		"for encryption":   string(keySet(t, jose.JSONWebKey{Key: good.Key, KeyID: "e", Use: "enc"})),
		"off the curve":    `{"keys":[{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA","kid":"o"}]}`,
		"another document": `{"issuer":"https://issuer.example"}`,
	} {
		_, err := auth.ParseIssuerKeys([]byte(text))
		require.Error(t, err, name)
	}
}

func TestCheckIssuer(t *testing.T) {
	t.Parallel()
	check := func(change func(*flotillav1.Issuer)) error {
		i := issuerOf(rule(flotillav1.Action_ACTION_READ, "sub", "x"))
		change(i)
		return auth.CheckIssuer("acme", i)
	}
	require.NoError(t, check(func(*flotillav1.Issuer) {}))
	for _, audience := range []string{"flotilla:acme", "flotilla:acme:prod"} {
		require.NoError(t, check(func(i *flotillav1.Issuer) { i.Audience = audience }))
	}
	filled := issuerOf(rule(flotillav1.Action_ACTION_READ, "sub", "x"))
	filled.Audience = ""
	require.NoError(t, auth.CheckIssuer("acme", filled))
	require.Equal(t, "flotilla:acme", filled.GetAudience())
	many := make([]*flotillav1.IssuerRule, 17)
	for i := range many {
		many[i] = anySub
	}
	claims := make([]string, 0, 34)
	for i := range 17 {
		claims = append(claims, fmt.Sprint(i), "x")
	}
	for name, change := range map[string]func(*flotillav1.Issuer){
		"no name":                 func(i *flotillav1.Issuer) { i.Name = "" },
		"a bad name":              func(i *flotillav1.Issuer) { i.Name = "a/b" },
		"http":                    func(i *flotillav1.Issuer) { i.Issuer = "http://issuer.example" },
		"no host":                 func(i *flotillav1.Issuer) { i.Issuer = "https:///x" },
		"a user":                  func(i *flotillav1.Issuer) { i.Issuer = "https://a:b@issuer.example" },
		"a query":                 func(i *flotillav1.Issuer) { i.Issuer = "https://issuer.example?x=1" },
		"a fragment":              func(i *flotillav1.Issuer) { i.Issuer = "https://issuer.example#x" },
		"a long URL":              func(i *flotillav1.Issuer) { i.Issuer = "https://issuer.example/" + strings.Repeat("a", 512) },
		"another tenant":          func(i *flotillav1.Issuer) { i.Audience = "flotilla:acme-b" },
		"a tenant that begins so": func(i *flotillav1.Issuer) { i.Audience = "flotilla:acmeb" },
		"the platform":            func(i *flotillav1.Issuer) { i.Audience = "flotilla" },
		"keys that are none":      func(i *flotillav1.Issuer) { i.Jwks = "{}" },
		"too many bytes of keys":  func(i *flotillav1.Issuer) { i.Jwks = strings.Repeat(" ", 64<<10+1) },
		"no rules":                func(i *flotillav1.Issuer) { i.Rules = nil },
		"too many rules":          func(i *flotillav1.Issuer) { i.Rules = many },
		"a rule for everybody":    func(i *flotillav1.Issuer) { i.Rules[0].Claims = nil },
		"too many claims":         func(i *flotillav1.Issuer) { i.Rules[0] = rule(flotillav1.Action_ACTION_READ, claims...) },
		"an empty value":          func(i *flotillav1.Issuer) { i.Rules[0].Claims["sub"] = "" },
		"a long value":            func(i *flotillav1.Issuer) { i.Rules[0].Claims["sub"] = strings.Repeat("x", 512) },
		"no permissions":          func(i *flotillav1.Issuer) { i.Rules[0].Permissions = nil },
		"admin of a namespace": func(i *flotillav1.Issuer) {
			i.Rules[0] = rule(flotillav1.Action_ACTION_ADMIN, "sub", "x")
			i.Rules[0].Permissions[0].Namespace = "default"
		},
		"no such action": func(i *flotillav1.Issuer) { i.Rules[0].Permissions[0].Actions[0] = 99 },
	} {
		require.Error(t, check(change), name)
	}
}
