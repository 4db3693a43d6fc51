package gateway

import (
	"context"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/quota"
)

// actsKept bounds the tenants whose acts are counted, the last ones that acted.
const actsKept = 10_000

// actsRate is how often the administrators of one tenant may act, on one node. Each
// act is a change of the catalog, which all tenants share, and most leave an entry in
// the audit log for ever.
//
//nolint:gochecknoglobals // a constant in all but its type
var actsRate = quota.Rate{PerSecond: 5, Burst: 1_000}

// acts holds tenants' administrators to a rate of their own: requests_per_second does
// not count what they do, so that who is over it can still revoke a key.
type acts struct {
	now func() time.Time

	mu     sync.Mutex
	tenant *simplelru.LRU[tenancy.TenantID, *quota.Bucket]
}

func newActs(now func() time.Time) *acts {
	kept, _ := simplelru.NewLRU[tenancy.TenantID, *quota.Bucket](actsKept, nil) // it fails for a size of 0 alone
	return &acts{now: now, tenant: kept}
}

// admit lets an act in, or refuses it with a *tenancy.QuotaError.
func (a *acts) admit(tenant tenancy.TenantID) error {
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	bucket, ok := a.tenant.Get(tenant)
	if !ok {
		full := quota.NewBucket(actsRate, now)
		bucket = &full
		a.tenant.Add(tenant, bucket)
	}
	if bucket.Take(1, now) {
		return nil
	}
	return &tenancy.QuotaError{Limit: "acts_per_second", Value: actsRate.PerSecond, RetryAfter: bucket.Wait(now)}
}

// WrapUnary implements connect.Interceptor.
func (a *acts) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		// Who may not act is refused by the handler, at nobody's cost.
		if principal, err := administrator(ctx); err == nil && req.Spec().Procedure != flotillav1connect.TenantServiceGetLimitsProcedure {
			if err := a.admit(principal.Tenant); err != nil {
				return nil, err
			}
		}
		return next(ctx, req)
	}
}

// WrapStreamingHandler implements connect.Interceptor; TenantService has no streams.
func (*acts) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// WrapStreamingClient implements connect.Interceptor, of a server.
func (*acts) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}
