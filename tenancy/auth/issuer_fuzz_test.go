package auth_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// FuzzIssuerToken: nothing that was not signed gets anywhere, and nothing makes it
// panic.
func FuzzIssuerToken(f *testing.F) {
	f.Add(newIssued().sign(f))
	i := newIssued()
	i.claims["exp"] = 1e300
	f.Add(i.sign(f))
	f.Add(raw(`{"alg":"none","kid":"rsa"}`, `{"aud":["flotilla:acme"],"iss":"https://issuer.example","exp":1e99}`, func([]byte) []byte { return nil }))
	f.Add("ey.ey.ey")
	keys, issuer := publicKeys(f), issuerOf(anySub)
	f.Fuzz(func(t *testing.T, text string) {
		if peeked, err := auth.PeekIssuerToken(text); err == nil {
			require.NoError(t, tenancy.ValidateName("tenant", string(peeked.Tenant)))
			require.NotEmpty(t, peeked.Issuer)
		} else {
			require.ErrorIs(t, err, auth.ErrBadToken)
		}
		// The keys are drawn anew by each process: only the seeds can be right.
		if permissions, _, err := auth.VerifyIssuerToken(text, issuer, keys, issuedAt); err == nil {
			require.Equal(t, tenancy.Permissions{{Actions: tenancy.ActionRead}}, permissions)
		}
	})
}

// goodClaims are right but for who signs them.
const goodClaims = `{"iss":"https://issuer.example","aud":"flotilla:acme","sub":"x","exp":1800000100}`

// signatures are what may stand behind a token. The first two are those of the issuer's
// keys of these ids; with all others it must not be believed, whatever it says.
func signatures(tb testing.TB) []func(input []byte) []byte {
	tb.Helper()
	sign := func(method jwt.SigningMethod, key any) func([]byte) []byte {
		return func(input []byte) []byte {
			signature, _ := method.Sign(string(input), key) // it fails for keys of another kind alone
			return signature
		}
	}
	shared := func(key []byte) func([]byte) []byte {
		return func(input []byte) []byte {
			mac := hmac.New(sha256.New, key)
			mac.Write(input)
			return mac.Sum(nil)
		}
	}
	same := func(signature []byte) func([]byte) []byte { return func([]byte) []byte { return signature } }
	public, ok := issuerKeys()["rsa"].Public().(*rsa.PublicKey)
	require.True(tb, ok)
	der, err := x509.MarshalPKIXPublicKey(public)
	require.NoError(tb, err)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(tb, err)
	return []func([]byte) []byte{
		sign(jwt.SigningMethodRS256, issuerKeys()["rsa"]), sign(jwt.SigningMethodEdDSA, issuerKeys()["ed"]),
		sign(jwt.SigningMethodRS256, stranger),
		shared(public.N.Bytes()), shared(der), shared(keySet(tb, jose.JSONWebKey{Key: public, KeyID: "rsa"})), shared(nil),
		same(nil), same(make([]byte, 64)), same(neutral()), same(make([]byte, 256)), same(append(make([]byte, 255), 1)),
	}
}

// neutral is the signature, of Ed25519, that is good for any text by a key which is the
// neutral element of the curve.
func neutral() []byte { return append([]byte{1}, make([]byte, 63)...) }

// FuzzSignedIssuerToken: whoever signs it, a token is believed for what it says alone.
func FuzzSignedIssuerToken(f *testing.F) {
	for n, seed := range [][2]string{
		{`{"alg":"RS256","kid":"rsa"}`, goodClaims},
		{`{"alg":"EdDSA","kid":"ed"}`, goodClaims},
		{`{"alg":"none","alg":"RS256","kid":"rsa"}`, goodClaims},
		{`{"alg":"HS256","kid":"rsa"}`, goodClaims},
		{`{"alg":"none","kid":"rsa"}`, goodClaims},
		{`{"alg":"RS256","kid":["rsa","ed"],"crit":null,"jwk":{},"x5u":"https://a.example"}`, goodClaims},
		{`{"ALG":"RS256","Kid":"rsa"}`, goodClaims},
		{`{"alg":"RS256","kid":"../rsa\u0000"}`, strings.Replace(goodClaims, "acme", "acme:prod", 1)},
		{`{"alg":"RS256","kid":"rsa"}`, strings.Replace(goodClaims, "1800000100", "1e999", 1)},
		{`{"alg":"RS256","kid":"rsa"}`, strings.Replace(goodClaims, `"exp"`, `"nbf":1e99,"exp"`, 1)},
		{`{"alg":"RS256","kid":"rsa"}`, `{"aud":["flotilla:b","flotilla:acme"],"AUD":"flotilla:b","iss":"https://issuer.example","exp":-1e99,"sub":7}`},
	} {
		f.Add(seed[0], seed[1], uint8(n))
		f.Add(seed[0], seed[1], uint8(0))
	}
	keys, issuer, by := publicKeys(f), issuerOf(anySub), signatures(f)
	f.Fuzz(func(t *testing.T, header, payload string, signer uint8) {
		n := int(signer) % len(by)
		_, expire, err := auth.VerifyIssuerToken(raw(header, payload, by[n]), issuer, keys, issuedAt)
		if err != nil {
			return
		}
		require.Less(t, n, 2, "somebody else has signed it")
		var head, body map[string]any
		require.NoError(t, json.Unmarshal([]byte(header), &head))
		require.NoError(t, json.Unmarshal([]byte(payload), &body))
		require.Equal(t, []string{"RS256", "EdDSA"}[n], head["alg"])
		require.Equal(t, []string{"rsa", "ed"}[n], head["kid"])
		require.NotContains(t, head, "crit")
		require.Equal(t, issuerURL, body["iss"])
		audiences, _ := body["aud"].([]any)
		require.True(t, body["aud"] == "flotilla:acme" || slices.Contains(audiences, any("flotilla:acme")))
		ends, _ := body["exp"].(float64)
		require.Greater(t, ends, float64(issuedAt.Add(-time.Minute).Unix()))
		require.InDelta(t, ends+60, float64(expire.Unix()), math.Abs(ends)*1e-9)
		for _, claim := range []string{"nbf", "iat"} {
			begins, _ := body[claim].(float64)
			require.LessOrEqual(t, begins, float64(issuedAt.Add(time.Minute).Unix()+1), claim)
		}
	})
}

// FuzzParseIssuerKeys: whatever keys an issuer tells, nobody else signs in its name.
func FuzzParseIssuerKeys(f *testing.F) {
	for id, key := range issuerKeys() {
		f.Add(keySet(f, jose.JSONWebKey{Key: key.Public(), KeyID: id}))
	}
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"oct","k":"AA"},null,7]}`))
	modulus := base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 256))
	for _, exponent := range []string{"", "AA", "AQ", "Ag", "Aw", "f_________8", "AQAAAAAAAAAA"} {
		f.Add(fmt.Appendf(nil, `{"keys":[{"kty":"RSA","n":%q,"e":%q,"kid":"a"},{"kty":"RSA","n":%[1]q,"e":%[2]q,"kid":"a"}]}`, modulus, exponent))
	}
	for _, x := range [][]byte{nil, {1}, make([]byte, 32), neutral()[:32], append([]byte{1}, append(make([]byte, 30), 0x80)...), neutral()} {
		f.Add(fmt.Appendf(nil, `{"keys":[{"kty":"OKP","crv":"Ed25519","x":%q}]}`, base64.RawURLEncoding.EncodeToString(x)))
	}
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA","alg":"none"},{"kty":"EC","crv":"P-256","x":null,"kid":7}]}`))
	issuer := issuerOf(anySub)
	var tokens []string
	for _, sign := range signatures(f)[2:] {
		for _, header := range []string{`{"alg":%q}`, `{"alg":%q,"kid":"a"}`} {
			for _, algorithm := range []string{"RS256", "PS256", "ES256", "EdDSA", "HS256", "none"} {
				tokens = append(tokens, raw(fmt.Sprintf(header, algorithm), goodClaims, sign))
			}
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := auth.ParseIssuerKeys(text)
		require.Equal(t, err == nil, keys != nil)
		if keys == nil {
			return
		}
		for _, token := range tokens {
			_, _, err := auth.VerifyIssuerToken(token, issuer, keys, issuedAt)
			require.ErrorIs(t, err, auth.ErrBadToken)
		}
	})
}
