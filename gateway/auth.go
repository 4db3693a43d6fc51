package gateway

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/placement/catalog"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// signingKeyKept is for how long a gateway signs with a key without asking which one
// is to be used.
const signingKeyKept = time.Minute

// authHandler serves flotilla.v1.AuthService.
type authHandler struct {
	catalog   *catalog.Catalog
	meter     *meter.Meter
	clusterID string
	now       func() time.Time

	mu     sync.Mutex
	key    *catalog.TokenKey
	keyHad time.Time
}

// ExchangeToken implements AuthService.
func (h *authHandler) ExchangeToken(ctx context.Context, req *flotillav1.ExchangeTokenRequest) (*flotillav1.ExchangeTokenResponse, error) {
	principal, ok := tenancy.FromContext(ctx)
	if !ok {
		return nil, tenancy.ErrUnauthenticated
	}
	if principal.FromToken || principal.KeyID == "" {
		return nil, tenancy.ErrPermissionDenied
	}
	if _, err := h.meter.Admit(ctx, principal, 1, 0); err != nil {
		return nil, err
	}
	ttl := auth.TokenTTLMax
	if req.GetTtl() != nil && req.GetTtl().AsDuration() != 0 {
		ttl = req.GetTtl().AsDuration()
	}
	if ttl < time.Second || ttl > auth.TokenTTLMax {
		return nil, &mvcc.InvalidError{Field: "ttl", Message: "takes 1 s to 15 min"}
	}
	now := h.now().Truncate(time.Second) // the precision of a token
	claims := auth.Claims{Tenant: principal.Tenant, KeyID: principal.KeyID, Issued: now, Expire: now.Add(ttl)}
	if !principal.Expire.IsZero() && principal.Expire.Before(claims.Expire) {
		claims.Expire = principal.Expire
	}
	if len(req.GetPermissions()) > 0 {
		permissions, err := tenancy.ParsePermissions(req.GetPermissions())
		if err != nil {
			return nil, err
		}
		if !permissions.Within(principal.Permissions) {
			return nil, tenancy.ErrPermissionDenied
		}
		claims.Permissions = permissions
	}
	key, err := h.signingKey(ctx)
	if err != nil {
		return nil, err
	}
	token, err := auth.SignToken(key.TokenKey, intercept.TokenIssuer(h.clusterID), claims)
	if err != nil {
		return nil, err
	}
	return &flotillav1.ExchangeTokenResponse{Token: token, ExpireTime: timestamppb.New(claims.Expire)}, nil
}

// signingKey is the key to sign with.
func (h *authHandler) signingKey(ctx context.Context) (*catalog.TokenKey, error) {
	h.mu.Lock()
	key, had := h.key, h.keyHad
	h.mu.Unlock()
	now := h.now()
	if key != nil && now.Sub(had) < signingKeyKept {
		return key, nil
	}
	key, err := h.catalog.SigningKey(ctx)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.key, h.keyHad = key, now
	return key, nil
}
