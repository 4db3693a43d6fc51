package intercept

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// tokensKept bounds the tokens that are remembered as verified, the last used ones:
// to verify one takes longer than all the rest of a request's way in.
const tokensKept = 16_384

// tokenHash is the SHA-256 of a token, by which it is known without being kept.
type tokenHash = [sha256.Size]byte

// issuerLookAgain is for how long a token of a tenant's issuer counts as verified: as
// long as the issuer's keys are kept.
const issuerLookAgain = 10 * time.Minute

// TokenIssuer is the issuer of the tokens that a cluster gives out.
func TokenIssuer(clusterID string) string { return "flotilla:" + clusterID }

// tokens verifies tokens: those that a gateway has given out, and those of tenants'
// own issuers. It remembers those that it has verified by their hash, with what they
// say alone: whether the key, the issuer and the tenant are let in is asked again.
type tokens struct {
	issuer  string
	records Records
	keys    IssuerKeys
	now     func() time.Time

	mu       sync.Mutex
	verified *simplelru.LRU[tokenHash, *verified]
}

// verified is what a token was found to say.
type verified struct {
	claims auth.Claims
	// ofIssuer is the principal of a token of a tenant's issuer; nil for others.
	ofIssuer *tenancy.Principal
	expire   time.Time
	// lookAgain is when it is to be verified again, if that is before expire: its
	// issuer may have given up the key that signed it.
	lookAgain time.Time
}

func newTokens(cfg AuthConfig) *tokens {
	kept, _ := simplelru.NewLRU[tokenHash, *verified](tokensKept, nil) // it fails for a size of 0 alone
	return &tokens{issuer: TokenIssuer(cfg.ClusterID), records: cfg.Records, keys: cfg.Issuers, now: cfg.Now, verified: kept}
}

// token finds the principal of a token of this hash.
func (a *Authenticator) token(ctx context.Context, text string, hash tokenHash) (*tenancy.Principal, error) {
	v, err := a.tokens.verify(ctx, text, hash)
	if err != nil {
		return nil, err
	}
	if v.ofIssuer != nil {
		tenant, err := a.tenant(ctx, v.ofIssuer.Tenant)
		if err != nil {
			return nil, err
		}
		principal := *v.ofIssuer
		principal.Limits, principal.Weight = tenant.Limits, tenant.Weight
		return &principal, nil
	}
	key, err := a.records.APIKey(ctx, v.claims.KeyID)
	if err != nil {
		return nil, err
	}
	if key.Tenant != v.claims.Tenant {
		return nil, auth.ErrBadToken
	}
	principal, err := a.principalOf(ctx, key)
	if err != nil {
		return nil, err
	}
	principal.FromToken = true
	if len(v.claims.Permissions) > 0 {
		principal.Permissions = v.claims.Permissions
	}
	if principal.Expire.IsZero() || v.expire.Before(principal.Expire) {
		principal.Expire = v.expire
	}
	return principal, nil
}

// verify finds out what a token says, mostly from memory.
func (t *tokens) verify(ctx context.Context, text string, hash tokenHash) (*verified, error) {
	now := t.now()
	t.mu.Lock()
	known, ok := t.verified.Get(hash)
	t.mu.Unlock()
	if ok && now.Before(known.expire) && now.Before(known.lookAgain) && t.holds(ctx, known) {
		return known, nil
	}
	v, err := t.look(ctx, text, now)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.verified.Add(hash, v)
	return v, nil
}

// holds tells whether what was found of a token is still so: a tenant may have changed
// its issuers since, or a key of ours may be gone.
func (t *tokens) holds(ctx context.Context, v *verified) bool {
	if v.ofIssuer == nil {
		return true // its API key is looked at with each request
	}
	issuers, err := t.records.Issuers(ctx, v.ofIssuer.Tenant)
	return err == nil && issuers.Revision == v.ofIssuer.IssuerRevision
}

func (t *tokens) look(ctx context.Context, text string, now time.Time) (*verified, error) {
	if peeked, err := auth.PeekIssuerToken(text); err == nil && peeked.Issuer != t.issuer {
		return t.lookIssuer(ctx, text, peeked, now)
	}
	claims, err := auth.VerifyToken(text, t.issuer, now, func(id string) (ed25519.PublicKey, error) {
		key, err := t.records.TokenKey(ctx, id)
		if err != nil {
			return nil, err
		}
		return key.Public(), nil
	})
	if err != nil {
		return nil, err
	}
	return &verified{claims: claims, expire: claims.Expire, lookAgain: claims.Expire}, nil
}

// lookIssuer verifies a token that claims to be of a tenant's issuer. Who cannot prove
// it is not told whether the tenant has that issuer: also if the keys cannot be fetched
// the error wraps tenancy.ErrUnauthenticated.
func (t *tokens) lookIssuer(ctx context.Context, text string, peeked auth.IssuerToken, now time.Time) (*verified, error) {
	issuers, err := t.records.Issuers(ctx, peeked.Tenant)
	if err != nil {
		return nil, err
	}
	err = auth.ErrBadToken
	for _, issuer := range issuers.List {
		if issuer.GetIssuer() != peeked.Issuer {
			continue
		}
		var permissions tenancy.Permissions
		var expire time.Time
		if permissions, expire, err = t.lookAt(ctx, text, issuer, peeked.KeyID, now); err == nil {
			return &verified{expire: expire, lookAgain: now.Add(issuerLookAgain), ofIssuer: &tenancy.Principal{
				Tenant: peeked.Tenant, Issuer: issuer.GetName(), IssuerRevision: issuers.Revision,
				FromToken: true, Permissions: permissions, Expire: expire,
			}}, nil
		}
	}
	if errors.Is(err, tenancy.ErrIssuerUnreachable) {
		return nil, fmt.Errorf("%w: %w", auth.ErrBadToken, err)
	}
	return nil, err
}

func (t *tokens) lookAt(ctx context.Context, text string, issuer *flotillav1.Issuer, keyID string, now time.Time) (tenancy.Permissions, time.Time, error) {
	keys, err := t.keysOf(ctx, issuer, keyID)
	if err != nil {
		return nil, time.Time{}, err
	}
	return auth.VerifyIssuerToken(text, issuer, keys, now)
}

func (t *tokens) keysOf(ctx context.Context, issuer *flotillav1.Issuer, keyID string) (*auth.IssuerKeys, error) {
	if issuer.GetJwks() != "" {
		keys, err := auth.ParseIssuerKeys([]byte(issuer.GetJwks()))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", tenancy.ErrIssuerUnreachable, err)
		}
		return keys, nil
	}
	if t.keys == nil {
		return nil, tenancy.ErrIssuerUnreachable
	}
	return t.keys.Find(ctx, issuer.GetIssuer(), keyID)
}
