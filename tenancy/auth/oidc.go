package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/protobuf/proto"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

const (
	// issuerSkew is how far an issuer's clock may be from ours.
	issuerSkew = 60 * time.Second
	// issuerTimeMax is the latest time that a token may name, in seconds since 1970: the
	// end of the year 9999.
	issuerTimeMax = 253_402_300_799
	// issuerKeysMax bounds the keys of one issuer.
	issuerKeysMax = 64
	// rsaBitsMin is the shortest RSA key that is believed, rsaBitsMax the longest: the
	// time to verify grows with the square of it, and who makes it long does not pay.
	rsaBitsMin = 2048
	rsaBitsMax = 8192
	// AudiencePrefix begins the audience of the tokens of tenants' own issuers; the
	// tenant's name follows. So a token that was made for one tenant is never taken
	// for another's.
	AudiencePrefix = "flotilla:"
)

// IssuerToken is what a token of a tenant's own issuer says, before it is verified.
type IssuerToken struct {
	// Tenant is whose issuer it would be of.
	Tenant tenancy.TenantID
	// Issuer is the claim "iss".
	Issuer string
	// KeyID is the header "kid"; empty if there is none.
	KeyID string
}

// PeekIssuerToken reads whom a token claims to be for and from, to find out who could
// verify it. Nothing of it may be believed yet. The error is ErrBadToken.
func PeekIssuerToken(text string) (IssuerToken, error) {
	if len(text) > tokenBytesMax {
		return IssuerToken{}, ErrBadToken
	}
	var claims jwt.RegisteredClaims
	token, _, err := jwt.NewParser().ParseUnverified(text, &claims)
	if err != nil {
		return IssuerToken{}, ErrBadToken
	}
	peeked := IssuerToken{Issuer: claims.Issuer}
	peeked.KeyID, _ = token.Header["kid"].(string)
	for _, audience := range claims.Audience {
		rest, ok := strings.CutPrefix(audience, AudiencePrefix)
		tenant, _, _ := strings.Cut(rest, ":")
		if !ok || tenancy.ValidateName("tenant", tenant) != nil {
			continue
		}
		if peeked.Tenant != "" && peeked.Tenant != tenancy.TenantID(tenant) {
			return IssuerToken{}, ErrBadToken // of two tenants at once
		}
		peeked.Tenant = tenancy.TenantID(tenant)
	}
	if peeked.Tenant == "" || peeked.Issuer == "" {
		return IssuerToken{}, ErrBadToken
	}
	return peeked, nil
}

// IssuerKeys are the public keys of an issuer.
type IssuerKeys struct{ set jose.JSONWebKeySet }

// ParseIssuerKeys reads a JSON Web Key Set. Keys of kinds that are not known, and
// those that are not for signatures, are left out.
func ParseIssuerKeys(text []byte) (*IssuerKeys, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("read a JSON Web Key Set: %w", err)
	}
	if len(set.Keys) > issuerKeysMax {
		return nil, fmt.Errorf("read a JSON Web Key Set: it has %d keys, and %d are the most", len(set.Keys), issuerKeysMax)
	}
	keys := &IssuerKeys{}
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil && (key.Use == "" || key.Use == "sig") && len(algorithmsOf(key.Key)) > 0 {
			keys.set.Keys = append(keys.set.Keys, key)
		}
	}
	if len(keys.set.Keys) == 0 {
		return nil, errors.New("read a JSON Web Key Set: it has no public key for signatures by RSA of 2048 to 8192 bits, ECDSA or Ed25519")
	}
	return keys, nil
}

// Has tells whether there is a key of this id. Without an id there is one if it is
// the only one.
func (k *IssuerKeys) Has(id string) bool { return k.find(id) != nil }

func (k *IssuerKeys) find(id string) *jose.JSONWebKey {
	if id == "" {
		if len(k.set.Keys) == 1 {
			return &k.set.Keys[0]
		}
		return nil
	}
	i := slices.IndexFunc(k.set.Keys, func(key jose.JSONWebKey) bool { return key.KeyID == id })
	if i < 0 {
		return nil
	}
	return &k.set.Keys[i]
}

// algorithmsOf are the algorithms of a public key, which alone a token may name;
// none for a key that is not known, too weak, or not public.
func algorithmsOf(key any) []string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits >= rsaBitsMin && bits <= rsaBitsMax {
			return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
		}
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return []string{"ES256"}
		case 384:
			return []string{"ES384"}
		case 521:
			return []string{"ES512"}
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}
	}
	return nil
}

// VerifyIssuerToken reads a token that must be of a tenant's issuer: signed by one of
// its keys, by an algorithm of that key, for its audience, and in its time give or
// take 60 s. It tells what the token allows and until when. The error wraps
// ErrBadToken; it is tenancy.ErrPermissionDenied if no rule matches the claims.
func VerifyIssuerToken(text string, issuer *flotillav1.Issuer, keys *IssuerKeys, now time.Time) (tenancy.Permissions, time.Time, error) {
	if len(text) > tokenBytesMax {
		return nil, time.Time{}, ErrBadToken
	}
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(text, claims, func(token *jwt.Token) (any, error) {
		id, _ := token.Header["kid"].(string)
		if isCritical(token) {
			return nil, ErrBadToken
		}
		key := keys.find(id)
		if key == nil || !slices.Contains(algorithmsOf(key.Key), token.Method.Alg()) || key.Algorithm != "" && key.Algorithm != token.Method.Alg() {
			return nil, ErrBadToken
		}
		return key.Key, nil
	},
		jwt.WithIssuer(issuer.GetIssuer()), jwt.WithAudience(issuer.GetAudience()), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(issuerSkew), jwt.WithTimeFunc(func() time.Time { return now }),
	)
	if err != nil || !timesFit(claims) {
		return nil, time.Time{}, ErrBadToken
	}
	expire, err := claims.GetExpirationTime()
	if err != nil {
		return nil, time.Time{}, ErrBadToken
	}
	var permissions tenancy.Permissions
	for _, rule := range issuer.GetRules() {
		if !matchClaims(rule.GetClaims(), claims) {
			continue
		}
		allowed, err := tenancy.ParsePermissions(rule.GetPermissions())
		if err != nil {
			return nil, time.Time{}, err
		}
		permissions = append(permissions, allowed...)
	}
	if len(permissions) == 0 {
		return nil, time.Time{}, tenancy.ErrPermissionDenied
	}
	return permissions, expire.Add(issuerSkew), nil
}

// timesFit tells whether the times of a token are within some ten thousand years of
// 1970. Numbers that are larger by far would be taken for other times, which may have
// passed; and who counts milliseconds does not get a token that never ends.
func timesFit(claims jwt.MapClaims) bool {
	for _, name := range []string{"exp", "nbf", "iat"} {
		if seconds, ok := claims[name].(float64); ok && math.Abs(seconds) > issuerTimeMax {
			return false
		}
	}
	return true
}

// matchClaims tells whether a token has all the claims that a rule names.
func matchClaims(wanted map[string]string, claims jwt.MapClaims) bool {
	for name, pattern := range wanted {
		switch value := claims[name].(type) {
		case string:
			if !matchText(pattern, value) {
				return false
			}
		case []any:
			if !slices.ContainsFunc(value, func(one any) bool { text, ok := one.(string); return ok && matchText(pattern, text) }) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// matchText tells whether a text is what a pattern says; a * at its end stands for
// anything.
func matchText(pattern, text string) bool {
	if prefix, open := strings.CutSuffix(pattern, "*"); open {
		return strings.HasPrefix(text, prefix)
	}
	return pattern == text
}

const (
	issuerURLBytesMax  = 512
	issuerJWKSBytesMax = 64 << 10
	issuerBytesMax     = 128 << 10
	issuerRulesMax     = 16
	issuerClaimsMax    = 16
	issuerClaimBytes   = 512
)

// InvalidIssuerError says what is wrong with an issuer.
type InvalidIssuerError struct {
	// Field is the field that is wrong.
	Field string
	// Message is what it takes.
	Message string
}

func (e *InvalidIssuerError) Error() string { return e.Field + " " + e.Message }

// CheckIssuer checks an issuer of a tenant, and fills its audience in. The error is
// an *InvalidIssuerError, or one of tenancy.
func CheckIssuer(tenant tenancy.TenantID, issuer *flotillav1.Issuer) error {
	if err := tenancy.ValidateName("issuer", issuer.GetName()); err != nil {
		return err
	}
	at, err := url.Parse(issuer.GetIssuer())
	if err != nil || at.Scheme != "https" || at.Host == "" || at.User != nil || at.RawQuery != "" || at.Fragment != "" || len(issuer.GetIssuer()) > issuerURLBytesMax {
		return &InvalidIssuerError{"issuer", "takes a URL with https, without user, query and fragment, of up to 512 bytes"}
	}
	own := AudiencePrefix + string(tenant)
	if issuer.GetAudience() == "" {
		issuer.Audience = own
	}
	if issuer.GetAudience() != own && !strings.HasPrefix(issuer.GetAudience(), own+":") || len(issuer.GetAudience()) > issuerURLBytesMax {
		return &InvalidIssuerError{"audience", fmt.Sprintf("takes %q, or that with a colon and more behind it", own)}
	}
	if len(issuer.GetJwks()) > issuerJWKSBytesMax {
		return &InvalidIssuerError{"jwks", "takes up to 64 KiB"}
	}
	if proto.Size(issuer) > issuerBytesMax {
		return &InvalidIssuerError{"issuer", "takes up to 128 KiB with its keys and rules"}
	}
	if issuer.GetJwks() != "" {
		if _, err := ParseIssuerKeys([]byte(issuer.GetJwks())); err != nil {
			return &InvalidIssuerError{"jwks", "is not valid: " + err.Error()}
		}
	}
	if n := len(issuer.GetRules()); n == 0 || n > issuerRulesMax {
		return &InvalidIssuerError{"rules", "takes 1 to 16 rules"}
	}
	for _, rule := range issuer.GetRules() {
		if err := checkRule(rule); err != nil {
			return err
		}
	}
	return nil
}

func checkRule(rule *flotillav1.IssuerRule) error {
	if n := len(rule.GetClaims()); n == 0 || n > issuerClaimsMax {
		return &InvalidIssuerError{"rules", "takes 1 to 16 claims in each: one without would let everybody in whom the issuer knows"}
	}
	for name, pattern := range rule.GetClaims() {
		if name == "" || pattern == "" || len(name)+len(pattern) > issuerClaimBytes {
			return &InvalidIssuerError{"rules", "takes claims with a name and a value, of up to 512 bytes together"}
		}
	}
	if len(rule.GetPermissions()) == 0 {
		return &InvalidIssuerError{"rules", "takes 1 or more permissions in each"}
	}
	_, err := tenancy.ParseNewPermissions(rule.GetPermissions())
	return err
}
