package intercept

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/flotillakv/flotilla/placement/catalog"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// Records finds the records of credentials and tenants; it is the catalog.
type Records interface {
	APIKey(ctx context.Context, id string) (*catalog.APIKey, error)
	Tenant(ctx context.Context, id tenancy.TenantID) (*catalog.Tenant, error)
	TokenKey(ctx context.Context, id string) (*catalog.TokenKey, error)
	Issuers(ctx context.Context, tenant tenancy.TenantID) (*catalog.Issuers, error)
}

// IssuerKeys finds the public keys of OpenID Connect issuers; it is oidc.Keys.
type IssuerKeys interface {
	Find(ctx context.Context, url, id string) (*auth.IssuerKeys, error)
	Failed(url string) bool
}

// AuthConfig is what an Authenticator needs.
type AuthConfig struct {
	Records Records
	// ClusterID is the cluster whose tokens are let in.
	ClusterID string
	// Issuers finds keys that tenants have not given with their issuers; nil finds
	// none.
	Issuers IssuerKeys
	// Uses takes note of the keys that are used; nil does not.
	Uses *KeyUses
	// Guard slows those down who try credentials.
	Guard *Guard
	// Now is the clock.
	Now func() time.Time
}

// An Authenticator finds out who makes a request. Safe for concurrent use.
type Authenticator struct {
	records Records
	uses    *KeyUses
	guard   *Guard
	now     func() time.Time
	tokens  *tokens
}

// NewAuthenticator makes an Authenticator.
func NewAuthenticator(cfg AuthConfig) *Authenticator {
	return &Authenticator{records: cfg.Records, uses: cfg.Uses, guard: cfg.Guard, now: cfg.Now, tokens: newTokens(cfg)}
}

// A Caller is what is known of who makes a request.
type Caller struct {
	// Authorization is the value of the header of this name.
	Authorization string
	// Address is where the request came from.
	Address string
	// CommonName is that of the certificate that the caller has shown, and an
	// authority has vouched for; empty if there is none.
	CommonName string
}

// Authenticate finds the principal of a caller: by its credential, or by its
// certificate if it sends none. The error wraps tenancy.ErrUnauthenticated if there is
// none, and tells nothing of whether the key exists; it is tenancy.ErrTenantSuspended
// if the credential is right, and its tenant is not let in, and a *tenancy.QuotaError
// if too many logins have failed.
func (a *Authenticator) Authenticate(ctx context.Context, c Caller) (*tenancy.Principal, error) {
	credential, err := auth.Bearer(c.Authorization)
	if err == nil {
		return a.Credential(ctx, credential, c.Address)
	}
	if c.Authorization == "" && c.CommonName != "" {
		user, err := ParseUser(c.CommonName)
		if err != nil {
			return nil, err
		}
		return a.Vouched(ctx, user)
	}
	return guarded(a.guard, c.Address, "", func() (*tenancy.Principal, error) { return nil, err })
}

// Credential finds the principal of an API key or a token that was sent from an
// address. The error is as that of Authenticate.
func (a *Authenticator) Credential(ctx context.Context, text, address string) (*tenancy.Principal, error) {
	if auth.IsToken(text) {
		// A client that sends a token that has ended again and again keeps itself out,
		// and not all that is behind the same address.
		hash := sha256.Sum256([]byte(text))
		return guarded(a.guard, address, string(hash[:]), func() (*tenancy.Principal, error) { return a.token(ctx, text, hash) })
	}
	key, malformed := auth.ParseAPIKey(text)
	return guarded(a.guard, address, key.ID(), func() (*tenancy.Principal, error) {
		if malformed != nil {
			return nil, malformed
		}
		return a.apiKey(ctx, key)
	})
}

// apiKey finds the principal of an API key.
func (a *Authenticator) apiKey(ctx context.Context, key auth.APIKey) (*tenancy.Principal, error) {
	record, err := a.records.APIKey(ctx, key.ID())
	if errors.Is(err, tenancy.ErrUnauthenticated) {
		key.Matches(make([]byte, auth.HashBytes)) // takes as long as for a key that exists
		return nil, tenancy.ErrUnauthenticated
	}
	if err != nil {
		return nil, err
	}
	if !key.Matches(record.SecretHash) {
		return nil, tenancy.ErrUnauthenticated
	}
	return a.principalOf(ctx, record)
}

// Vouched finds the principal of an API key by its id alone: a certificate authority
// has vouched for the caller. The error is as that of Authenticate.
func (a *Authenticator) Vouched(ctx context.Context, user User) (*tenancy.Principal, error) {
	if user.KeyID == "" {
		return nil, tenancy.ErrUnauthenticated
	}
	record, err := a.records.APIKey(ctx, user.KeyID)
	if err != nil {
		return nil, err
	}
	if user.Tenant != "" && user.Tenant != record.Tenant {
		return nil, tenancy.ErrUnauthenticated
	}
	return a.principalOf(ctx, record)
}

func (a *Authenticator) principalOf(ctx context.Context, key *catalog.APIKey) (*tenancy.Principal, error) {
	if !key.Expire.IsZero() && !a.now().Before(key.Expire) {
		return nil, tenancy.ErrUnauthenticated
	}
	tenant, err := a.tenant(ctx, key.Tenant)
	if err != nil {
		return nil, err
	}
	if a.uses != nil {
		a.uses.note(key.ID)
	}
	return &tenancy.Principal{
		Tenant: key.Tenant, KeyID: key.ID, Permissions: key.Permissions, Limits: tenant.Limits, Weight: tenant.Weight, Expire: key.Expire,
	}, nil
}

// tenant finds a tenant that is let in.
func (a *Authenticator) tenant(ctx context.Context, id tenancy.TenantID) (*catalog.Tenant, error) {
	tenant, err := a.records.Tenant(ctx, id)
	if errors.Is(err, tenancy.ErrTenantNotFound) {
		return nil, tenancy.ErrUnauthenticated // its keys are being removed
	}
	if err != nil {
		return nil, err
	}
	if tenant.State != catalog.TenantActive {
		return nil, tenancy.ErrTenantSuspended
	}
	return tenant, nil
}

// Anonymous is the principal of callers of a tenant who show no credential, where
// that is allowed. It returns tenancy.ErrTenantSuspended if the tenant is not let in.
func (a *Authenticator) Anonymous(ctx context.Context, id tenancy.TenantID, permissions tenancy.Permissions) (*tenancy.Principal, error) {
	tenant, err := a.tenant(ctx, id)
	if err != nil {
		return nil, err
	}
	return &tenancy.Principal{Tenant: id, Permissions: permissions, Limits: tenant.Limits, Weight: tenant.Weight}, nil
}

// IssuerFailed tells whether this node could not fetch the keys of a tenant's issuer
// when it last tried.
func (a *Authenticator) IssuerFailed(issuer *flotillav1.Issuer) bool {
	return a.tokens.keys != nil && issuer.GetJwks() == "" && a.tokens.keys.Failed(issuer.GetIssuer())
}

// StillValid returns an error as that of Authenticate once the credential of a
// stream's principal was revoked or has expired, or its tenant is not let in any
// more; and has what follows on the stream held to the tenant's limits as they are. It
// costs look-ups in memory.
func (a *Authenticator) StillValid(ctx context.Context) error {
	principal, ok := tenancy.FromContext(ctx)
	if !ok {
		return tenancy.ErrUnauthenticated
	}
	now := a.now()
	if !principal.Expire.IsZero() && !now.Before(principal.Expire) {
		return tenancy.ErrUnauthenticated
	}
	if principal.KeyID != "" {
		key, err := a.records.APIKey(ctx, principal.KeyID)
		if err != nil {
			return err
		}
		if !key.Expire.IsZero() && !now.Before(key.Expire) {
			return tenancy.ErrUnauthenticated // it was rotated since
		}
	}
	if principal.Issuer != "" {
		issuers, err := a.records.Issuers(ctx, principal.Tenant)
		if err != nil {
			return err
		}
		if issuers.Revision != principal.IssuerRevision {
			return tenancy.ErrUnauthenticated // it was changed or deleted: the token is to be shown again
		}
	}
	tenant, err := a.tenant(ctx, principal.Tenant)
	if err != nil {
		return err
	}
	if principal.Limits != tenant.Limits || principal.Weight != tenant.Weight {
		renewed := *principal
		renewed.Limits, renewed.Weight = tenant.Limits, tenant.Weight
		tenancy.Renew(ctx, &renewed)
	}
	return nil
}

// authenticate lets only known principals through.
func authenticate(a *Authenticator) layer {
	return func(ctx context.Context, c call, next func(context.Context) error) error {
		principal, err := a.Authenticate(ctx, Caller{Authorization: c.header.Get("Authorization"), Address: c.peer, CommonName: commonName(ctx)})
		if err != nil {
			return err
		}
		ctx = withAct(ctx, c, principal.Actor())
		return next(tenancy.NewContext(ctx, principal))
	}
}
