package tenancy

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Principal is who makes a request: what a credential was found to stand for.
// It is shared by all requests and streams of the credential, so it is not
// changed once it is made.
type Principal struct {
	// Tenant is whose data the request is about. It comes from the
	// credential alone, never from the request (T1).
	Tenant TenantID
	// KeyID is the API key's id, for logs; empty for other credentials.
	KeyID string
	// Issuer is the name of the tenant's issuer that made the credential; empty for
	// other credentials.
	Issuer string
	// IssuerRevision is the revision at which the tenant's issuers were read.
	IssuerRevision uint64
	// FromToken says that the credential is a token, which cannot be exchanged for
	// another.
	FromToken bool
	// Permissions are what the credential allows.
	Permissions Permissions
	// Limits are the tenant's limits when the credential was read.
	Limits Limits
	// Weight is the tenant's share of a busy shard, as a multiple of others'; 0 is
	// 1.
	Weight int
	// Expire is when the credential ends; zero if it does not. Streams, which may
	// outlive it, end then.
	Expire time.Time
}

// Actor is the principal in the audit log.
func (p *Principal) Actor() string {
	switch {
	case p.KeyID != "":
		return fmt.Sprintf("key:%s/%s", p.Tenant, p.KeyID)
	case p.Issuer != "":
		return fmt.Sprintf("issuer:%s/%s", p.Tenant, p.Issuer)
	default:
		return fmt.Sprintf("tenant:%s", p.Tenant)
	}
}

// Check returns nil when the principal may do the action to all keys of the
// span, and otherwise ErrPermissionDenied. Whether the credential still holds is
// not its question: streams, which outlive the moment at which they were
// authenticated, ask the catalog.
func (p *Principal) Check(action Action, namespace string, keys Span) error {
	if !p.Permissions.Allow(action, namespace, keys) {
		return ErrPermissionDenied
	}
	return nil
}

type principalKey struct{}

// NewContext returns a context that carries the principal. Contexts that are made of
// it carry what Renew gives it.
func NewContext(ctx context.Context, p *Principal) context.Context {
	carried := new(atomic.Pointer[Principal])
	carried.Store(p)
	return context.WithValue(ctx, principalKey{}, carried)
}

// FromContext returns the principal that the context carries. ok is false for a
// request that was not authenticated.
func FromContext(ctx context.Context) (p *Principal, ok bool) {
	carried, ok := ctx.Value(principalKey{}).(*atomic.Pointer[Principal])
	if !ok {
		return nil, false
	}
	return carried.Load(), true
}

// Renew gives a context, and all that share its principal, another one of the same
// caller: a stream outlives the limits that it began with. It does nothing to a
// context that carries none.
func Renew(ctx context.Context, p *Principal) {
	if carried, ok := ctx.Value(principalKey{}).(*atomic.Pointer[Principal]); ok {
		carried.Store(p)
	}
}
