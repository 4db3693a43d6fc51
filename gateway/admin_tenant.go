package gateway

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/flotillakv/flotilla/gateway/apierr"
	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/placement/catalog"
	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

const graceDefault = 7 * 24 * time.Hour

// tenantID is the tenant that a request names.
func tenantID(name string) (tenancy.TenantID, error) {
	return tenancy.TenantID(name), tenancy.ValidateName("tenant", name)
}

// CreateTenants implements AdminService.
func (h *adminHandler) CreateTenants(ctx context.Context, req *adminv1.CreateTenantsRequest) (*adminv1.CreateTenantsResponse, error) {
	if n := len(req.GetTenants()); n == 0 || n > catalog.TenantsCreatedMax {
		return nil, &mvcc.InvalidError{Field: "tenants", Message: fmt.Sprintf("takes 1 to %d tenants", catalog.TenantsCreatedMax)}
	}
	response := &adminv1.CreateTenantsResponse{Results: make([]*adminv1.CreatedTenant, len(req.GetTenants()))}
	var list []catalog.NewTenant
	var places []int
	for i, asked := range req.GetTenants() {
		response.Results[i] = &adminv1.CreatedTenant{}
		one, secret, err := newTenant(asked)
		if err != nil {
			response.Results[i].Error = apierr.ToProto(err, intercept.RequestID(ctx))
			continue
		}
		response.Results[i].Secret = secret
		list, places = append(list, one), append(places, i)
	}
	for n, made := range h.catalog.CreateTenants(ctx, list) {
		result := response.GetResults()[places[n]]
		if made.Err != nil {
			result.Error, result.Secret = apierr.ToProto(made.Err, intercept.RequestID(ctx)), ""
			continue
		}
		result.Tenant = tenantOf(made.Tenant)
	}
	return response, nil
}

func newTenant(asked *adminv1.NewTenant) (one catalog.NewTenant, secret string, err error) {
	if err := checkDescription(asked.GetDescription()); err != nil {
		return one, "", err
	}
	if asked.GetWeight() > catalog.WeightMax {
		return one, "", badWeight()
	}
	if err := checkLimits(asked.GetLimits()); err != nil {
		return one, "", err
	}
	one = catalog.NewTenant{
		ID: tenancy.TenantID(asked.GetName()), Description: asked.GetDescription(), Plan: asked.GetPlan(),
		Own: asked.GetLimits(), Weight: asked.GetWeight(),
	}
	if !asked.GetWithoutNamespace() {
		one.Namespace = tenancy.DefaultNamespace
	}
	if asked.GetWithoutKey() {
		return one, "", nil
	}
	one.Key, secret, err = newAPIKey(one.ID)
	return one, secret, err
}

// checkLimits refuses limits beyond what the platform takes from anybody: they would
// be told, and not hold.
func checkLimits(own *flotillav1.Limits) error {
	for _, l := range []struct {
		name        string
		value, most uint64
	}{
		{"key_bytes_max", own.GetKeyBytesMax(), uint64(mvcc.HardLimits.KeyBytesMax)},
		{"value_bytes_max", own.GetValueBytesMax(), uint64(mvcc.HardLimits.ValueBytesMax)},
		{"request_bytes_max", own.GetRequestBytesMax(), tenancy.RequestBytesRead},
		{"txn_operations_max", own.GetTxnOperationsMax(), uint64(mvcc.HardLimits.TxnOperationsMax)},
	} {
		if l.value > l.most {
			return &mvcc.InvalidError{Field: "limits." + l.name, Message: fmt.Sprintf("takes up to %d", l.most)}
		}
	}
	return nil
}

func badWeight() error {
	return &mvcc.InvalidError{Field: "weight", Message: fmt.Sprintf("takes 1 to %d", catalog.WeightMax)}
}

func tenantOf(t *catalog.Tenant) *adminv1.Tenant {
	return &adminv1.Tenant{
		Name: string(t.ID), Description: t.Description, CreateTime: timestamppb.New(t.CreateTime),
		State: adminv1.TenantState(t.State), PurgeTime: timestampOf(t.PurgeTime), Plan: t.Plan,
		OwnLimits: t.Own, Limits: t.Limits.Proto(), Weight: uint32(t.Weight), Namespaces: t.Namespaces, ApiKeys: t.APIKeys,
	}
}

// ListTenants implements AdminService.
func (h *adminHandler) ListTenants(ctx context.Context, req *adminv1.ListTenantsRequest) (*adminv1.ListTenantsResponse, error) {
	limit, err := page(req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	list, more, err := h.catalog.ListTenants(ctx, tenancy.TenantID(req.GetPageToken()), limit)
	if err != nil {
		return nil, err
	}
	response := &adminv1.ListTenantsResponse{}
	for _, t := range list {
		response.Tenants = append(response.Tenants, tenantOf(t))
	}
	if more {
		response.NextPageToken = string(list[len(list)-1].ID)
	}
	return response, nil
}

// GetTenant implements AdminService.
func (h *adminHandler) GetTenant(ctx context.Context, req *adminv1.GetTenantRequest) (*adminv1.GetTenantResponse, error) {
	tenant, err := answerTenant(req.GetTenant(), func(id tenancy.TenantID) (*catalog.Tenant, error) { return h.catalog.Tenant(ctx, id) })
	if err != nil {
		return nil, err
	}
	return &adminv1.GetTenantResponse{Tenant: tenant}, nil
}

// answerTenant does something to a tenant, and tells how it is then.
func answerTenant(name string, do func(tenancy.TenantID) (*catalog.Tenant, error)) (*adminv1.Tenant, error) {
	id, err := tenantID(name)
	if err != nil {
		return nil, err
	}
	tenant, err := do(id)
	if err != nil {
		return nil, err
	}
	return tenantOf(tenant), nil
}

// SetTenantLimits implements AdminService.
func (h *adminHandler) SetTenantLimits(ctx context.Context, req *adminv1.SetTenantLimitsRequest) (*adminv1.SetTenantLimitsResponse, error) {
	if req.Weight != nil && (req.GetWeight() < 1 || req.GetWeight() > catalog.WeightMax) {
		return nil, badWeight()
	}
	if err := checkLimits(req.GetLimits()); err != nil {
		return nil, err
	}
	tenant, err := answerTenant(req.GetTenant(), func(id tenancy.TenantID) (*catalog.Tenant, error) {
		return h.catalog.SetTenantLimits(ctx, id, catalog.TenantLimits{Plan: req.Plan, Own: req.GetLimits(), Weight: req.Weight})
	})
	if err != nil {
		return nil, err
	}
	return &adminv1.SetTenantLimitsResponse{Tenant: tenant}, nil
}

// SuspendTenant implements AdminService.
func (h *adminHandler) SuspendTenant(ctx context.Context, req *adminv1.SuspendTenantRequest) (*adminv1.SuspendTenantResponse, error) {
	tenant, err := answerTenant(req.GetTenant(), func(id tenancy.TenantID) (*catalog.Tenant, error) { return h.catalog.SuspendTenant(ctx, id) })
	if err != nil {
		return nil, err
	}
	return &adminv1.SuspendTenantResponse{Tenant: tenant}, nil
}

// ResumeTenant implements AdminService.
func (h *adminHandler) ResumeTenant(ctx context.Context, req *adminv1.ResumeTenantRequest) (*adminv1.ResumeTenantResponse, error) {
	tenant, err := answerTenant(req.GetTenant(), func(id tenancy.TenantID) (*catalog.Tenant, error) { return h.catalog.ResumeTenant(ctx, id) })
	if err != nil {
		return nil, err
	}
	return &adminv1.ResumeTenantResponse{Tenant: tenant}, nil
}

// DeleteTenant implements AdminService.
func (h *adminHandler) DeleteTenant(ctx context.Context, req *adminv1.DeleteTenantRequest) (*adminv1.DeleteTenantResponse, error) {
	grace := graceDefault
	if req.GetGrace() != nil {
		grace = req.GetGrace().AsDuration()
	}
	if grace < 0 || grace > catalog.GraceMax {
		return nil, &mvcc.InvalidError{Field: "grace", Message: fmt.Sprintf("takes 0 to %d days", catalog.GraceMax/(24*time.Hour))}
	}
	tenant, err := answerTenant(req.GetTenant(), func(id tenancy.TenantID) (*catalog.Tenant, error) { return h.catalog.DeleteTenant(ctx, id, grace) })
	if err != nil {
		return nil, err
	}
	return &adminv1.DeleteTenantResponse{Tenant: tenant}, nil
}

// CreateNamespaces implements AdminService.
func (h *adminHandler) CreateNamespaces(ctx context.Context, req *adminv1.CreateNamespacesRequest) (*adminv1.CreateNamespacesResponse, error) {
	id, err := tenantID(req.GetTenant())
	if err != nil {
		return nil, err
	}
	created, err := h.createNamespaces(ctx, id, req.GetNames())
	if err != nil {
		return nil, err
	}
	return &adminv1.CreateNamespacesResponse{Namespaces: created}, nil
}

// ListNamespaces implements AdminService.
func (h *adminHandler) ListNamespaces(ctx context.Context, req *adminv1.ListNamespacesRequest) (*adminv1.ListNamespacesResponse, error) {
	id, err := h.existing(ctx, req.GetTenant())
	if err != nil {
		return nil, err
	}
	list, next, err := h.listNamespaces(ctx, id, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &adminv1.ListNamespacesResponse{Namespaces: list, NextPageToken: next}, nil
}

// existing is a tenant that there is: lists would be empty for others.
func (h *adminHandler) existing(ctx context.Context, name string) (tenancy.TenantID, error) {
	id, err := tenantID(name)
	if err != nil {
		return "", err
	}
	_, err = h.catalog.Tenant(ctx, id)
	return id, err
}

// DeleteNamespaces implements AdminService.
func (h *adminHandler) DeleteNamespaces(ctx context.Context, req *adminv1.DeleteNamespacesRequest) (*adminv1.DeleteNamespacesResponse, error) {
	id, err := tenantID(req.GetTenant())
	if err != nil {
		return nil, err
	}
	if err := h.deleteNamespaces(ctx, id, req.GetNames()); err != nil {
		return nil, err
	}
	return &adminv1.DeleteNamespacesResponse{}, nil
}

// CreateAPIKey implements AdminService.
func (h *adminHandler) CreateAPIKey(ctx context.Context, req *adminv1.CreateAPIKeyRequest) (*adminv1.CreateAPIKeyResponse, error) {
	id, err := tenantID(req.GetTenant())
	if err != nil {
		return nil, err
	}
	made, err := h.createAPIKey(ctx, id, req.GetKey())
	if err != nil {
		return nil, err
	}
	return &adminv1.CreateAPIKeyResponse{ApiKey: made.GetApiKey(), Secret: made.GetSecret()}, nil
}

// ListAPIKeys implements AdminService.
func (h *adminHandler) ListAPIKeys(ctx context.Context, req *adminv1.ListAPIKeysRequest) (*adminv1.ListAPIKeysResponse, error) {
	id, err := h.existing(ctx, req.GetTenant())
	if err != nil {
		return nil, err
	}
	list, err := h.listAPIKeys(ctx, id)
	if err != nil {
		return nil, err
	}
	return &adminv1.ListAPIKeysResponse{ApiKeys: list}, nil
}

// RotateAPIKey implements AdminService.
func (h *adminHandler) RotateAPIKey(ctx context.Context, req *adminv1.RotateAPIKeyRequest) (*adminv1.RotateAPIKeyResponse, error) {
	id, err := tenantID(req.GetTenant())
	if err != nil {
		return nil, err
	}
	made, err := h.rotateAPIKey(ctx, id, req.GetKey())
	if err != nil {
		return nil, err
	}
	return &adminv1.RotateAPIKeyResponse{ApiKey: made.GetApiKey(), Secret: made.GetSecret(), Replaced: made.GetReplaced()}, nil
}

// RevokeAPIKey implements AdminService.
func (h *adminHandler) RevokeAPIKey(ctx context.Context, req *adminv1.RevokeAPIKeyRequest) (*adminv1.RevokeAPIKeyResponse, error) {
	id, err := tenantID(req.GetTenant())
	if err != nil {
		return nil, err
	}
	if err := h.revokeAPIKey(ctx, id, req.GetId()); err != nil {
		return nil, err
	}
	return &adminv1.RevokeAPIKeyResponse{}, nil
}
