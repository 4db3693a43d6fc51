package gateway

import (
	"context"
	"crypto/rand"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/flotillakv/flotilla/placement/catalog"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

const (
	pageSizeMax         = 1000
	descriptionBytesMax = 256
)

// tenantHandler serves flotilla.v1.TenantService.
type tenantHandler struct {
	flotillav1connect.UnimplementedTenantServiceHandler
	catalog *catalog.Catalog
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
	return &flotillav1.GetLimitsResponse{Limits: principal.Limits.Proto()}, nil
}

// CreateNamespaces implements TenantService.
func (h *tenantHandler) CreateNamespaces(ctx context.Context, req *flotillav1.CreateNamespacesRequest) (*flotillav1.CreateNamespacesResponse, error) {
	principal, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	if n := len(req.GetNames()); n == 0 || n > catalog.NamespacesCreatedMax {
		return nil, &mvcc.InvalidError{Field: "names", Message: "takes 1 to 100 names"}
	}
	created, err := h.catalog.CreateNamespaces(ctx, principal.Tenant, req.GetNames(), principal.Limits)
	if err != nil {
		return nil, err
	}
	return &flotillav1.CreateNamespacesResponse{Namespaces: namespacesOf(created)}, nil
}

// ListNamespaces implements TenantService.
func (h *tenantHandler) ListNamespaces(ctx context.Context, req *flotillav1.ListNamespacesRequest) (*flotillav1.ListNamespacesResponse, error) {
	principal, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	if token := req.GetPageToken(); token != "" {
		if err := tenancy.ValidateName("page token", token); err != nil {
			return nil, err
		}
	}
	size := min(uint64(req.GetPageSize()), pageSizeMax)
	if size == 0 {
		size = pageSizeMax
	}
	list, more, err := h.catalog.ListNamespaces(ctx, principal.Tenant, req.GetPageToken(), size)
	if err != nil {
		return nil, err
	}
	response := &flotillav1.ListNamespacesResponse{Namespaces: namespacesOf(list)}
	if more {
		response.NextPageToken = list[len(list)-1].Name
	}
	return response, nil
}

func namespacesOf(list []catalog.Namespace) []*flotillav1.Namespace {
	out := make([]*flotillav1.Namespace, len(list))
	for i, ns := range list {
		out[i] = &flotillav1.Namespace{Name: ns.Name, CreateTime: timestamppb.New(ns.CreateTime)}
	}
	return out
}

// CreateAPIKey implements TenantService.
func (h *tenantHandler) CreateAPIKey(ctx context.Context, req *flotillav1.CreateAPIKeyRequest) (*flotillav1.CreateAPIKeyResponse, error) {
	principal, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	if len(req.GetDescription()) > descriptionBytesMax {
		return nil, &mvcc.InvalidError{Field: "description", Message: "takes up to 256 bytes"}
	}
	key, secret, err := auth.GenerateAPIKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	hash := key.Hash()
	created, err := h.catalog.CreateAPIKey(ctx, catalog.APIKey{
		ID: key.ID(), Tenant: principal.Tenant, SecretHash: hash[:], Description: req.GetDescription(),
	})
	if err != nil {
		return nil, err
	}
	return &flotillav1.CreateAPIKeyResponse{ApiKey: apiKeyOf(&created), Secret: secret}, nil
}

// ListAPIKeys implements TenantService.
func (h *tenantHandler) ListAPIKeys(ctx context.Context, _ *flotillav1.ListAPIKeysRequest) (*flotillav1.ListAPIKeysResponse, error) {
	principal, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	list, err := h.catalog.ListAPIKeys(ctx, principal.Tenant)
	if err != nil {
		return nil, err
	}
	response := &flotillav1.ListAPIKeysResponse{}
	for _, key := range list {
		response.ApiKeys = append(response.ApiKeys, apiKeyOf(key))
	}
	return response, nil
}

func apiKeyOf(key *catalog.APIKey) *flotillav1.APIKey {
	return &flotillav1.APIKey{Id: key.ID, Description: key.Description, CreateTime: timestamppb.New(key.CreateTime)}
}

// RevokeAPIKey implements TenantService.
func (h *tenantHandler) RevokeAPIKey(ctx context.Context, req *flotillav1.RevokeAPIKeyRequest) (*flotillav1.RevokeAPIKeyResponse, error) {
	principal, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	if !auth.ValidID(req.GetId()) {
		return nil, &mvcc.InvalidError{Field: "id", Message: "is not the id of an API key: take it from ListAPIKeys"}
	}
	if err := h.catalog.RevokeAPIKey(ctx, principal.Tenant, req.GetId()); err != nil {
		return nil, err
	}
	return &flotillav1.RevokeAPIKeyResponse{}, nil
}
