package gateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/flotillakv/flotilla/gateway/intercept"
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

// jwksPath is where the public keys of tokens are told.
const jwksPath = "/.well-known/jwks.json"

// jwks is the keys by which anybody can verify the tokens that the cluster gives out.
type jwks struct {
	catalog *catalog.Catalog
	now     func() time.Time
	log     *slog.Logger

	mu   sync.Mutex
	text []byte
	made time.Time
}

// ServeHTTP implements http.Handler. Anybody may ask, so the answer is kept.
func (j *jwks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "takes GET", http.StatusMethodNotAllowed)
		return
	}
	text, err := j.current(r.Context())
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			j.log.Warn("the keys of tokens cannot be told", "err", err)
		}
		http.Error(w, "the keys cannot be read now: try again", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=60")
	_, _ = w.Write(text)
}

func (j *jwks) current(ctx context.Context) ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.text != nil && j.now().Sub(j.made) < signingKeyKept {
		return j.text, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := j.catalog.SigningKey(ctx); err != nil { // so that the next one to sign is in it
		return nil, err
	}
	list, err := j.catalog.TokenKeys(ctx)
	if err != nil {
		return nil, err
	}
	type key struct {
		Type      string `json:"kty"`
		Curve     string `json:"crv"`
		X         string `json:"x"`
		ID        string `json:"kid"`
		Use       string `json:"use"`
		Algorithm string `json:"alg"`
	}
	set := struct {
		Keys []key `json:"keys"`
	}{Keys: []key{}}
	for _, k := range list {
		set.Keys = append(set.Keys, key{
			Type: "OKP", Curve: "Ed25519", X: base64.RawURLEncoding.EncodeToString(k.Public()), ID: k.ID, Use: "sig", Algorithm: "EdDSA",
		})
	}
	text, err := json.Marshal(set)
	if err == nil {
		j.text, j.made = text, j.now()
	}
	return text, err
}
