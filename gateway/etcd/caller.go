package etcd

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"unicode/utf8"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/gateway/route"
	"github.com/flotillakv/flotilla/gateway/unread"
	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/tenancy"
)

// caller is who makes a request, and the namespace that is its etcd.
type caller struct {
	principal *tenancy.Principal
	namespace string
	place     catalog.Route
	// answer is what the answer of a unary request takes while it is not taken.
	answer hold
}

type callerKey struct{}

// callerFrom is the caller whom the interceptors found. Every handler but those
// of public procedures has one.
func callerFrom(ctx context.Context) *caller {
	c, _ := ctx.Value(callerKey{}).(*caller)
	return c
}

// Anonymous is the tenant and namespace of callers on this machine who name
// nobody.
type Anonymous struct {
	Tenant    tenancy.TenantID
	Namespace string
	// Permissions are what they may do. Default everything.
	Permissions tenancy.Permissions
}

// door finds out who calls.
type door struct {
	auth      *intercept.Authenticator
	kv        *route.KV
	proxies   intercept.Proxies
	anonymous *Anonymous
	answers   *unread.Answers
}

// enter returns a context with the caller in it.
func (d *door) enter(ctx context.Context) (context.Context, *caller, error) {
	principal, namespace, err := d.identify(ctx)
	if err != nil {
		return nil, nil, err
	}
	ctx = tenancy.NewContext(ctx, principal)
	if p, ok := peer.FromContext(ctx); ok {
		if err := d.kv.Meter().Enter(meter.ConnectionOf(p.Addr), principal); err != nil {
			return nil, nil, err
		}
	}
	place, err := d.placeOf(ctx, principal, namespace)
	if err != nil {
		return nil, nil, err
	}
	c := &caller{principal: principal, namespace: namespace, place: place, answer: d.newHold(principal)}
	return context.WithValue(ctx, callerKey{}, c), c, nil
}

// placeOf is where the namespace is that a caller has named. Some procedures tell of
// it without asking for a permission of their own, so who has none there is refused
// here, whether it exists or not.
func (d *door) placeOf(ctx context.Context, principal *tenancy.Principal, namespace string) (catalog.Route, error) {
	if !principal.Permissions.Reach(namespace) {
		return catalog.Route{}, tenancy.ErrPermissionDenied
	}
	return d.kv.Place(ctx, namespace)
}

// newHold is a hold of the principal's tenant that has nothing yet.
func (d *door) newHold(principal *tenancy.Principal) hold {
	return hold{answers: d.answers, tenant: principal.Tenant}
}

// identify takes the first that there is: a token, a certificate of the client,
// or, where that is allowed, nobody on this machine.
func (d *door) identify(ctx context.Context) (*tenancy.Principal, string, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, "", rpctypes.ErrGRPCUserEmpty
	}
	if text := tokenOf(ctx); text != "" {
		t, err := parseToken(text)
		if err != nil {
			return nil, "", err
		}
		principal, err := d.auth.Credential(ctx, t.credential, d.address(ctx))
		return principal, t.namespace, err
	}
	if name := commonName(p); name != "" {
		user, err := intercept.ParseUser(name)
		if err != nil {
			return nil, "", rpctypes.ErrGRPCAuthFailed
		}
		principal, err := d.auth.Vouched(ctx, user)
		if errors.Is(err, tenancy.ErrUnauthenticated) {
			err = rpctypes.ErrGRPCAuthFailed // which of key and tenant is wrong is not told
		}
		return principal, user.Namespace, err
	}
	if d.anonymous != nil && isLoopback(d.address(ctx)) {
		permissions := d.anonymous.Permissions
		if permissions == nil {
			permissions = tenancy.FullAccess()
		}
		principal, err := d.auth.Anonymous(ctx, d.anonymous.Tenant, permissions)
		return principal, d.anonymous.Namespace, err
	}
	return nil, "", rpctypes.ErrGRPCUserEmpty
}

// tokenOf is the caller's token, which etcd's clients send as "token", and
// others as "authorization".
func tokenOf(ctx context.Context) string {
	if values := metadata.ValueFromIncomingContext(ctx, rpctypes.TokenFieldNameGRPC); len(values) > 0 {
		return values[0]
	}
	if values := metadata.ValueFromIncomingContext(ctx, rpctypes.TokenFieldNameSwagger); len(values) > 0 {
		scheme, rest, ok := strings.Cut(values[0], " ")
		if ok && strings.EqualFold(scheme, "Bearer") {
			return rest
		}
		return values[0]
	}
	return ""
}

// commonName is the name in the client's certificate, if it was verified.
func commonName(p *peer.Peer) string {
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 || len(info.State.VerifiedChains[0]) == 0 {
		return ""
	}
	return info.State.VerifiedChains[0][0].Subject.CommonName
}

// address is where a request came from; empty if that is not known.
func (d *door) address(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	return d.proxies.Client(p.Addr.String(), metadata.ValueFromIncomingContext(ctx, intercept.ForwardedFor))
}

// isLoopback tells whether the other side of a connection is this machine. Whom a
// proxy speaks for has no port, and never is.
func isLoopback(address string) bool {
	from, err := netip.ParseAddrPort(address)
	return err == nil && from.Addr().Unmap().IsLoopback()
}

// checkVersion refuses clients whose version is no text, as etcd does.
func checkVersion(ctx context.Context) error {
	values := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataClientAPIVersionKey)
	if len(values) > 0 && !utf8.ValidString(values[0]) {
		return rpctypes.ErrGRPCInvalidClientAPIVersion
	}
	return nil
}

// requiresLeader says whether the caller would rather be refused than wait for
// a leader.
func requiresLeader(ctx context.Context) bool {
	values := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey)
	return len(values) > 0 && values[0] == rpctypes.MetadataHasLeader
}
