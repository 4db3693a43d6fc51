package tenancy

import "context"

// Principal is who makes a request: what a credential was found to stand for.
// It is shared by all requests and streams of the credential, so it is not
// changed once it is made.
type Principal struct {
	// Tenant is whose data the request is about. It comes from the
	// credential alone, never from the request (T1).
	Tenant TenantID
	// KeyID is the API key's id, for logs; empty for other credentials.
	KeyID string
	// Permissions are what the credential allows.
	Permissions Permissions
	// Limits are the tenant's limits when the credential was read.
	Limits Limits
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

// NewContext returns a context that carries the principal.
func NewContext(ctx context.Context, p *Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// FromContext returns the principal that the context carries. ok is false for a
// request that was not authenticated.
func FromContext(ctx context.Context) (p *Principal, ok bool) {
	p, ok = ctx.Value(principalKey{}).(*Principal)
	return p, ok
}
