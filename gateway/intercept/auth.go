package intercept

import (
	"context"
	"errors"
	"net/http"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// Keys finds the records of API keys.
type Keys interface {
	APIKey(ctx context.Context, id string) (*catalog.APIKey, error)
}

// An Authenticator finds out who makes a request.
type Authenticator struct {
	keys   Keys
	limits tenancy.Limits
}

// NewAuthenticator makes an Authenticator under which every tenant has the
// given limits.
func NewAuthenticator(keys Keys, limits tenancy.Limits) *Authenticator {
	return &Authenticator{keys: keys, limits: limits.WithDefaults()}
}

// Authenticate finds the principal that a request's Authorization header
// stands for. The error wraps tenancy.ErrUnauthenticated if there is none, and
// tells nothing of whether the key exists.
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
	record, err := a.keys.APIKey(ctx, key.ID())
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
	return a.principalOf(record), nil
}

// Vouched finds the principal of an API key by its id alone: somebody else,
// such as a certificate authority, has vouched for the caller. The error is as
// that of Authenticate.
func (a *Authenticator) Vouched(ctx context.Context, id string) (*tenancy.Principal, error) {
	record, err := a.keys.APIKey(ctx, id)
	if err != nil {
		return nil, err
	}
	return a.principalOf(record), nil
}

func (a *Authenticator) principalOf(record *catalog.APIKey) *tenancy.Principal {
	return &tenancy.Principal{
		Tenant: record.Tenant, KeyID: record.ID, Permissions: tenancy.FullAccess(), Limits: a.limits,
	}
}

// StillValid returns tenancy.ErrUnauthenticated once the credential of a
// stream's principal was revoked. It costs a look-up in memory.
func (a *Authenticator) StillValid(ctx context.Context) error {
	principal, ok := tenancy.FromContext(ctx)
	if !ok {
		return tenancy.ErrUnauthenticated
	}
	_, err := a.keys.APIKey(ctx, principal.KeyID)
	return err
}

// authenticate lets only known principals through.
func authenticate(a *Authenticator) layer {
	return func(ctx context.Context, c call, next func(context.Context) error) error {
		principal, err := a.Authenticate(ctx, c.header)
		if err != nil {
			return err
		}
		return next(tenancy.NewContext(ctx, principal))
	}
}
