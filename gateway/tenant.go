package gateway

import (
	"context"

	"github.com/flotillakv/flotilla/gateway/intercept"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	"github.com/flotillakv/flotilla/tenancy"
)

// tenantHandler serves flotilla.v1.TenantService.
type tenantHandler struct {
	flotillav1connect.UnimplementedTenantServiceHandler
	administration
	auth *intercept.Authenticator
}

// administrator is the caller, if it may administrate its tenant.
func administrator(ctx context.Context) (*tenancy.Principal, error) {
	principal, ok := tenancy.FromContext(ctx)
	if !ok {
		return nil, tenancy.ErrUnauthenticated
	}
	return principal, principal.Check(tenancy.ActionAdmin, "", tenancy.AllKeys())
}

// GetLimits implements TenantService.
func (h *tenantHandler) GetLimits(ctx context.Context, _ *flotillav1.GetLimitsRequest) (*flotillav1.GetLimitsResponse, error) {
	principal, ok := tenancy.FromContext(ctx)
	if !ok {
		return nil, tenancy.ErrUnauthenticated
	}
	tenant, err := h.catalog.Tenant(ctx, principal.Tenant)
	if err != nil {
		return nil, err
	}
	return &flotillav1.GetLimitsResponse{Limits: tenant.Limits.Proto(), Plan: tenant.Plan}, nil
}

// CreateNamespaces implements TenantService.
func (h *tenantHandler) CreateNamespaces(ctx context.Context, req *flotillav1.CreateNamespacesRequest) (*flotillav1.CreateNamespacesResponse, error) {
	principal, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	created, err := h.createNamespaces(ctx, principal.Tenant, req.GetNames())
	if err != nil {
		return nil, err
	}
	return &flotillav1.CreateNamespacesResponse{Namespaces: created}, nil
}

// ListNamespaces implements TenantService.
func (h *tenantHandler) ListNamespaces(ctx context.Context, req *flotillav1.ListNamespacesRequest) (*flotillav1.ListNamespacesResponse, error) {
	principal, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	list, next, err := h.listNamespaces(ctx, principal.Tenant, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &flotillav1.ListNamespacesResponse{Namespaces: list, NextPageToken: next}, nil
}

// DeleteNamespaces implements TenantService.
func (h *tenantHandler) DeleteNamespaces(ctx context.Context, req *flotillav1.DeleteNamespacesRequest) (*flotillav1.DeleteNamespacesResponse, error) {
	principal, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	if err := h.deleteNamespaces(ctx, principal.Tenant, req.GetNames()); err != nil {
		return nil, err
	}
	return &flotillav1.DeleteNamespacesResponse{}, nil
}

// CreateAPIKey implements TenantService.
func (h *tenantHandler) CreateAPIKey(ctx context.Context, req *flotillav1.CreateAPIKeyRequest) (*flotillav1.CreateAPIKeyResponse, error) {
	principal, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	return h.createAPIKey(ctx, principal.Tenant, req)
}

// ListAPIKeys implements TenantService.
func (h *tenantHandler) ListAPIKeys(ctx context.Context, _ *flotillav1.ListAPIKeysRequest) (*flotillav1.ListAPIKeysResponse, error) {
	principal, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	list, err := h.listAPIKeys(ctx, principal.Tenant)
	if err != nil {
		return nil, err
	}
	return &flotillav1.ListAPIKeysResponse{ApiKeys: list}, nil
}

// RotateAPIKey implements TenantService.
func (h *tenantHandler) RotateAPIKey(ctx context.Context, req *flotillav1.RotateAPIKeyRequest) (*flotillav1.RotateAPIKeyResponse, error) {
	principal, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	return h.rotateAPIKey(ctx, principal.Tenant, req)
}

// RevokeAPIKey implements TenantService.
func (h *tenantHandler) RevokeAPIKey(ctx context.Context, req *flotillav1.RevokeAPIKeyRequest) (*flotillav1.RevokeAPIKeyResponse, error) {
	principal, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	if err := h.revokeAPIKey(ctx, principal.Tenant, req.GetId()); err != nil {
		return nil, err
	}
	return &flotillav1.RevokeAPIKeyResponse{}, nil
}
