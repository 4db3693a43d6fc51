package auth

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/flotillakv/flotilla/tenancy"
)

const (
	// TokenTTLMax is the longest life of a token that the platform gives out.
	TokenTTLMax = 15 * time.Minute
	// TokenAudience is whom these tokens are for.
	TokenAudience = "flotilla"
	// tokenBytesMax is the longest token that is looked at, in bytes.
	tokenBytesMax = 16 << 10
	// tokenSkew is how far the clocks of gateways may be apart.
	tokenSkew = 2 * time.Second
)

// ErrBadToken says that a text is no token that is let in: not a JWT, of another
// issuer or audience, not in its time, with another algorithm, or not signed by a
// known key. It wraps tenancy.ErrUnauthenticated.
var ErrBadToken = fmt.Errorf("%w: the token is not valid", tenancy.ErrUnauthenticated)

// TokenKey signs tokens.
type TokenKey struct {
	// ID names it in the header "kid".
	ID string
	// Private is the key.
	Private ed25519.PrivateKey
}

// GenerateTokenKey makes a key from 42 bytes of random. The seed is what to keep of
// it.
func GenerateTokenKey(random io.Reader) (id string, seed []byte, err error) {
	var bits [idBytes + ed25519.SeedSize]byte
	if _, err := io.ReadFull(random, bits[:]); err != nil {
		return "", nil, fmt.Errorf("read randomness for a key of tokens: %w", err)
	}
	return keyEncoding.EncodeToString(bits[:idBytes]), bits[idBytes:], nil
}

// NewTokenKey is the key of a seed.
func NewTokenKey(id string, seed []byte) (TokenKey, error) {
	if len(seed) != ed25519.SeedSize {
		return TokenKey{}, fmt.Errorf("the seed of a key of tokens has %d bytes, and not %d", len(seed), ed25519.SeedSize)
	}
	return TokenKey{ID: id, Private: ed25519.NewKeyFromSeed(seed)}, nil
}

// Public is the public half of the key.
func (k TokenKey) Public() ed25519.PublicKey {
	public, _ := k.Private.Public().(ed25519.PublicKey) // it is nothing else
	return public
}

// Claims are what a token says.
type Claims struct {
	// Tenant is whose data it is about.
	Tenant tenancy.TenantID
	// KeyID is the API key that it was given out for, and ends with.
	KeyID string
	// Permissions are what it allows; none is what the key does.
	Permissions tenancy.Permissions
	// Issued and Expire are when it begins and ends.
	Issued, Expire time.Time
}

// tokenClaims are claims as a JWT has them.
type tokenClaims struct {
	jwt.RegisteredClaims
	Tenant      string            `json:"tenant"`
	Permissions []tokenPermission `json:"permissions,omitempty"`
}

type tokenPermission struct {
	Actions   tenancy.Action `json:"actions"`
	Namespace string         `json:"namespace,omitempty"`
	Prefix    []byte         `json:"prefix,omitempty"`
}

// SignToken makes a token. The issuer is the cluster that gives it out. The error is a
// *tenancy.InvalidPermissionError if the permissions make the token longer than any
// that is let in.
func SignToken(key TokenKey, issuer string, c Claims) (string, error) {
	claims := tokenClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Subject: c.KeyID, Audience: jwt.ClaimStrings{TokenAudience},
			IssuedAt: jwt.NewNumericDate(c.Issued), NotBefore: jwt.NewNumericDate(c.Issued), ExpiresAt: jwt.NewNumericDate(c.Expire),
		},
		Tenant: string(c.Tenant),
	}
	for _, p := range c.Permissions {
		claims.Permissions = append(claims.Permissions, tokenPermission(p))
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	token.Header["kid"] = key.ID
	text, err := token.SignedString(key.Private)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	if len(text) > tokenBytesMax {
		return "", &tenancy.InvalidPermissionError{Message: fmt.Sprintf("with them the token has more than %d bytes", tokenBytesMax)}
	}
	return text, nil
}

// VerifyToken reads a token that SignToken made. Only EdDSA is an algorithm, and
// only find says which keys there are: nothing else of the header is believed. Find's
// error is returned as it is unless it is tenancy.ErrUnauthenticated; all others wrap
// ErrBadToken.
func VerifyToken(text, issuer string, now time.Time, find func(id string) (ed25519.PublicKey, error)) (Claims, error) {
	if len(text) > tokenBytesMax {
		return Claims{}, ErrBadToken
	}
	var unknown error
	var claims tokenClaims
	_, err := jwt.ParseWithClaims(text, &claims, func(token *jwt.Token) (any, error) {
		id, _ := token.Header["kid"].(string)
		if !ValidID(id) || isCritical(token) {
			return nil, ErrBadToken
		}
		key, err := find(id)
		if err != nil && !errors.Is(err, tenancy.ErrUnauthenticated) {
			unknown = err
		}
		return key, err
	},
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithIssuer(issuer), jwt.WithAudience(TokenAudience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(tokenSkew), jwt.WithTimeFunc(func() time.Time { return now }),
	)
	if unknown != nil {
		return Claims{}, unknown
	}
	if err != nil || claims.IssuedAt == nil || !ValidID(claims.Subject) || tenancy.ValidateName("tenant", claims.Tenant) != nil {
		return Claims{}, ErrBadToken // what was wrong is nobody's business
	}
	if claims.ExpiresAt.Sub(claims.IssuedAt.Time) > TokenTTLMax {
		return Claims{}, ErrBadToken // not one of ours, whoever signed it
	}
	c := Claims{
		Tenant: tenancy.TenantID(claims.Tenant), KeyID: claims.Subject, Issued: claims.IssuedAt.Time, Expire: claims.ExpiresAt.Time,
	}
	for _, p := range claims.Permissions {
		c.Permissions = append(c.Permissions, tenancy.Permission(p))
	}
	return c, nil
}

// isCritical tells whether a token has extensions that must be understood, and none is
// (RFC 7515, 4.1.11).
func isCritical(token *jwt.Token) bool {
	_, critical := token.Header["crit"]
	return critical
}

// IsToken tells whether a credential looks like a token and not like a key.
func IsToken(text string) bool { return len(text) > 2 && text[:2] == "ey" }
