package gateway

import (
	"context"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// SetIssuer implements TenantService.
func (h *tenantHandler) SetIssuer(ctx context.Context, req *flotillav1.SetIssuerRequest) (*flotillav1.SetIssuerResponse, error) {
	principal, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	issuer := req.GetIssuer()
	if issuer == nil {
		return nil, &mvcc.InvalidError{Field: "issuer", Message: "must be set"}
	}
	if err := auth.CheckIssuer(principal.Tenant, issuer); err != nil {
		return nil, err
	}
	if err := h.catalog.SetIssuer(ctx, principal.Tenant, issuer); err != nil {
		return nil, err
	}
	return &flotillav1.SetIssuerResponse{Issuer: issuer}, nil
}

// ListIssuers implements TenantService.
func (h *tenantHandler) ListIssuers(ctx context.Context, _ *flotillav1.ListIssuersRequest) (*flotillav1.ListIssuersResponse, error) {
	principal, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	issuers, err := h.catalog.Issuers(ctx, principal.Tenant)
	if err != nil {
		return nil, err
	}
	response := &flotillav1.ListIssuersResponse{Issuers: issuers.List}
	for _, issuer := range issuers.List {
		if h.auth.IssuerFailed(issuer) {
			response.Unreachable = append(response.Unreachable, issuer.GetName())
		}
	}
	return response, nil
}

// DeleteIssuer implements TenantService.
func (h *tenantHandler) DeleteIssuer(ctx context.Context, req *flotillav1.DeleteIssuerRequest) (*flotillav1.DeleteIssuerResponse, error) {
	principal, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	if err := h.catalog.DeleteIssuer(ctx, principal.Tenant, req.GetName()); err != nil {
		return nil, err
	}
	return &flotillav1.DeleteIssuerResponse{}, nil
}
