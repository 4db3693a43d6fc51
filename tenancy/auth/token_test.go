package auth_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

const issuer = "flotilla:5a0c4b3e-7f35-4f0f-8d2a-0c8b6a4f2d10"

// signer signs tokens, and finds its key.
type signer struct {
	tb  testing.TB
	key auth.TokenKey
	now time.Time
}

func newSigner(tb testing.TB) *signer {
	tb.Helper()
	id, seed, err := auth.GenerateTokenKey(rand.Reader)
	require.NoError(tb, err)
	key, err := auth.NewTokenKey(id, seed)
	require.NoError(tb, err)
	return &signer{tb: tb, key: key, now: time.Unix(1_800_000_000, 0)}
}

func (s *signer) find(id string) (ed25519.PublicKey, error) {
	if id != s.key.ID {
		return nil, tenancy.ErrUnauthenticated
	}
	return s.key.Public(), nil
}

func (s *signer) claims() auth.Claims {
	return auth.Claims{
		Tenant: "acme", KeyID: "aaaqeayeaudaocaj", Issued: s.now, Expire: s.now.Add(10 * time.Minute),
		Permissions: tenancy.Permissions{{Actions: tenancy.ActionRead | tenancy.ActionAdmin, Namespace: "app", Prefix: []byte{0, 0xff}}},
	}
}

func (s *signer) sign(c auth.Claims) string {
	s.tb.Helper()
	text, err := auth.SignToken(s.key, issuer, c)
	require.NoError(s.tb, err)
	return text
}

func (s *signer) verify(text string) (auth.Claims, error) {
	return auth.VerifyToken(text, issuer, s.now, s.find)
}

// raw makes a token with a header and claims as they are given, signed as sign does.
func raw(header, claims string, sign func(input []byte) []byte) string {
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	return input + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(input)))
}

func TestToken(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	text := s.sign(s.claims())
	require.True(t, auth.IsToken(text))
	require.False(t, auth.IsToken(fixedKey))
	claims, err := s.verify(text)
	require.NoError(t, err)
	require.Equal(t, s.claims(), claims)

	s.now = s.now.Add(10*time.Minute + time.Second)
	_, err = s.verify(text)
	require.NoError(t, err, "clocks may be a little apart")
	s.now = s.now.Add(2 * time.Second)
	_, err = s.verify(text)
	require.ErrorIs(t, err, auth.ErrBadToken)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated)
}

// TestTokensThatAreNone: none of the ways in which verifiers of tokens were fooled.
func TestTokensThatAreNone(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	good := s.sign(s.claims())
	parts := strings.Split(good, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	public := s.key.Public()
	edDSA := func(input []byte) []byte { return ed25519.Sign(s.key.Private, input) }
	header := `{"alg":"EdDSA","typ":"JWT","kid":"` + s.key.ID + `"}`
	claims := func(change func(*auth.Claims)) string {
		c := s.claims()
		change(&c)
		return s.sign(c)
	}
	other := newSigner(t)
	withHeader := func(h string) string { return raw(h, string(payload), edDSA) }
	withClaims := func(c string) string { return raw(header, c, edDSA) }
	_, err = s.verify(withHeader(header))
	require.NoError(t, err, "the test's own tokens are right")

	for name, text := range map[string]string{
		"empty":             "",
		"not a token":       "ey.ey.ey",
		"two parts":         parts[0] + "." + parts[1],
		"four parts":        good + "." + parts[2],
		"no signature":      parts[0] + "." + parts[1] + ".",
		"alg none":          raw(`{"alg":"none","kid":"`+s.key.ID+`"}`, string(payload), func([]byte) []byte { return nil }),
		"alg None":          raw(`{"alg":"None","kid":"`+s.key.ID+`"}`, string(payload), func([]byte) []byte { return nil }),
		"no alg":            withHeader(`{"kid":"` + s.key.ID + `"}`),
		"alg of two kinds":  withHeader(`{"alg":["EdDSA"],"kid":"` + s.key.ID + `"}`),
		"HMAC by the key":   raw(`{"alg":"HS256","kid":"`+s.key.ID+`"}`, string(payload), func(in []byte) []byte { m := hmac.New(sha256.New, public); m.Write(in); return m.Sum(nil) }),
		"another algorithm": withHeader(`{"alg":"ES256","kid":"` + s.key.ID + `"}`),
		"no kid":            withHeader(`{"alg":"EdDSA"}`),
		"unknown kid":       withHeader(`{"alg":"EdDSA","kid":"` + other.key.ID + `"}`),
		"kid of a file":     withHeader(`{"alg":"EdDSA","kid":"../../../../dev/null"}`),
		"kid with SQL":      withHeader(`{"alg":"EdDSA","kid":"x' UNION SELECT 'y"}`),
		"kid of a number":   withHeader(`{"alg":"EdDSA","kid":7}`),
		"key in the header": raw(`{"alg":"EdDSA","kid":"`+s.key.ID+`","jwk":{"kty":"OKP","crv":"Ed25519","x":"`+base64.RawURLEncoding.EncodeToString(other.key.Public())+`"}}`, string(payload), func(in []byte) []byte { return ed25519.Sign(other.key.Private, in) }),
		"signed by another": raw(header, string(payload), func(in []byte) []byte { return ed25519.Sign(other.key.Private, in) }),
		"changed":           parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(payload), "acme", "evil", 1))) + "." + parts[2],
		"too early":         claims(func(c *auth.Claims) { c.Issued, c.Expire = s.now.Add(time.Minute), s.now.Add(2*time.Minute) }),
		"too late":          claims(func(c *auth.Claims) { c.Issued, c.Expire = s.now.Add(-time.Minute), s.now.Add(-3*time.Second) }),
		"too long a life":   claims(func(c *auth.Claims) { c.Expire = s.now.Add(time.Hour) }),
		"no expiry":         withClaims(`{"iss":"` + issuer + `","sub":"aaaqeayeaudaocaj","aud":["flotilla"],"iat":1800000000,"tenant":"acme"}`),
		"no beginning":      withClaims(`{"iss":"` + issuer + `","sub":"aaaqeayeaudaocaj","aud":["flotilla"],"exp":1800000100,"tenant":"acme"}`),
		"wrong audience":    withClaims(`{"iss":"` + issuer + `","sub":"aaaqeayeaudaocaj","aud":["other"],"iat":1800000000,"exp":1800000100,"tenant":"acme"}`),
		"no audience":       withClaims(`{"iss":"` + issuer + `","sub":"aaaqeayeaudaocaj","iat":1800000000,"exp":1800000100,"tenant":"acme"}`),
		"another cluster":   withClaims(`{"iss":"flotilla:other","sub":"aaaqeayeaudaocaj","aud":["flotilla"],"iat":1800000000,"exp":1800000100,"tenant":"acme"}`),
		"no key":            claims(func(c *auth.Claims) { c.KeyID = "" }),
		"no tenant":         claims(func(c *auth.Claims) { c.Tenant = "" }),
		"a path for tenant": claims(func(c *auth.Claims) { c.Tenant = "a/b" }),
		"times as text":     withClaims(`{"iss":"` + issuer + `","sub":"aaaqeayeaudaocaj","aud":["flotilla"],"iat":"now","exp":"later","tenant":"acme"}`),
		"huge":              "ey" + strings.Repeat("A", 1<<20) + "." + parts[1] + "." + parts[2],
		"trailing JSON":     withClaims(string(payload) + "{}"),
		"an extension":      withHeader(`{"alg":"EdDSA","kid":"` + s.key.ID + `","crit":["exp"],"exp":1}`),
		"padded":            parts[0] + "=." + parts[1] + "." + parts[2],
	} {
		_, err := s.verify(text)
		require.ErrorIs(t, err, auth.ErrBadToken, name)
		require.NotContains(t, err.Error(), s.key.ID, name)
	}

	broken := errors.New("the catalog cannot be reached")
	_, err = auth.VerifyToken(good, issuer, s.now, func(string) (ed25519.PublicKey, error) { return nil, broken })
	require.ErrorIs(t, err, broken)
	require.NotErrorIs(t, err, tenancy.ErrUnauthenticated, "nobody is told that a token is wrong which was not looked at")
}

// TestTokensAreNotTooLong: none is given out that is not let in for its length.
func TestTokensAreNotTooLong(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	c := s.claims()
	c.Permissions = tenancy.Permissions{{Actions: tenancy.ActionRead, Prefix: make([]byte, 8<<10)}}
	_, err := s.verify(s.sign(c))
	require.NoError(t, err)
	for range 63 {
		c.Permissions = append(c.Permissions, tenancy.Permission{Actions: tenancy.AllActions, Namespace: strings.Repeat("n", 63)})
	}
	_, err = auth.SignToken(s.key, issuer, c)
	require.ErrorAs(t, err, new(*tenancy.InvalidPermissionError))
}

func FuzzVerifyToken(f *testing.F) {
	s := newSigner(f)
	f.Add(s.sign(s.claims()))
	f.Add(raw(`{"alg":"none"}`, `{}`, func([]byte) []byte { return nil }))
	f.Add("ey.ey.ey")
	f.Add("..")
	// The key is drawn anew by each process, so nothing that is found can be right.
	f.Fuzz(func(t *testing.T, text string) {
		claims, err := s.verify(text)
		if err == nil {
			require.Equal(t, s.claims(), claims)
			return
		}
		require.ErrorIs(t, err, tenancy.ErrUnauthenticated)
	})
}
