package intercept

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// Records finds the records of credentials and tenants; it is the catalog.
type Records interface {
	APIKey(ctx context.Context, id string) (*catalog.APIKey, error)
	Tenant(ctx context.Context, id tenancy.TenantID) (*catalog.Tenant, error)
}

// An Authenticator finds out who makes a request. Safe for concurrent use.
type Authenticator struct {
	records Records
	uses    *KeyUses
	now     func() time.Time
}

// NewAuthenticator makes an Authenticator. Uses takes note of the keys that are
// used; nil does not.
func NewAuthenticator(records Records, uses *KeyUses, now func() time.Time) *Authenticator {
	return &Authenticator{records: records, uses: uses, now: now}
}

// Authenticate finds the principal that a request's Authorization header
// stands for. The error wraps tenancy.ErrUnauthenticated if there is none, and
// tells nothing of whether the key exists; it is tenancy.ErrTenantSuspended if the
// credential is right, and its tenant is not let in.
func (a *Authenticator) Authenticate(ctx context.Context, header http.Header) (*tenancy.Principal, error) {
	key, err := auth.ParseBearer(header.Get("Authorization"))
	if err != nil {
		return nil, err
	}
	return a.Principal(ctx, key)
}

// Principal finds the principal of an API key. The error is as that of
// Authenticate.
func (a *Authenticator) Principal(ctx context.Context, key auth.APIKey) (*tenancy.Principal, error) {
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

// Vouched finds the principal of an API key by its id alone: somebody else,
// such as a certificate authority, has vouched for the caller. The error is as
// that of Authenticate.
func (a *Authenticator) Vouched(ctx context.Context, id string) (*tenancy.Principal, error) {
	record, err := a.records.APIKey(ctx, id)
	if err != nil {
		return nil, err
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

// StillValid returns an error as that of Authenticate once the credential of a
// stream's principal was revoked or has expired, or its tenant is not let in any
// more. It costs look-ups in memory.
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
	_, err := a.tenant(ctx, principal.Tenant)
	return err
}

// authenticate lets only known principals through.
func authenticate(a *Authenticator) layer {
	return func(ctx context.Context, c call, next func(context.Context) error) error {
		principal, err := a.Authenticate(ctx, c.header)
		if err != nil {
			return err
		}
		ctx = withAct(ctx, c, principal.Actor())
		return next(tenancy.NewContext(ctx, principal))
	}
}
