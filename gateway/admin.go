package gateway

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/route"
	"github.com/flotillakv/flotilla/placement/catalog"
	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1/adminv1connect"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// adminBytesMax is the largest request of an operator, in bytes.
const adminBytesMax = 4 << 20

// AdminConfig is what AdminService is served with.
type AdminConfig struct {
	Catalog *catalog.Catalog
	// KV reaches the shards, and what was counted.
	KV *route.KV
	// Guard slows those down who try credentials.
	Guard   *intercept.Guard
	Metrics *intercept.Metrics
	Now     func() time.Time
	Log     *slog.Logger
}

// AdminHandler serves flotilla.admin.v1.AdminService, and returns the path under
// which it does.
func AdminHandler(cfg AdminConfig) (path string, handler http.Handler) {
	return adminv1connect.NewAdminServiceHandler(
		&adminHandler{administration: administration{catalog: cfg.Catalog, kv: cfg.KV, now: cfg.Now}},
		connect.WithHandlerOptions(intercept.OperatorChain(intercept.OperatorConfig{
			Operators: cfg.Catalog, Role: roleOf, Guard: cfg.Guard, Metrics: cfg.Metrics, Log: cfg.Log, Now: cfg.Now,
		}), connect.WithReadMaxBytes(adminBytesMax), strictJSON()),
	)
}

// roles are the least roles that the procedures take. One that is not in it is
// refused to everybody.
//
//nolint:gochecknoglobals // a table that nothing changes
var roles = map[string]catalog.Role{
	adminv1connect.AdminServiceCreateTenantsProcedure:    catalog.RoleOperator,
	adminv1connect.AdminServiceListTenantsProcedure:      catalog.RoleViewer,
	adminv1connect.AdminServiceGetTenantProcedure:        catalog.RoleViewer,
	adminv1connect.AdminServiceSetTenantLimitsProcedure:  catalog.RoleOperator,
	adminv1connect.AdminServiceSuspendTenantProcedure:    catalog.RoleOperator,
	adminv1connect.AdminServiceResumeTenantProcedure:     catalog.RoleOperator,
	adminv1connect.AdminServiceDeleteTenantProcedure:     catalog.RoleOwner,
	adminv1connect.AdminServiceCreateNamespacesProcedure: catalog.RoleOperator,
	adminv1connect.AdminServiceListNamespacesProcedure:   catalog.RoleViewer,
	adminv1connect.AdminServiceDeleteNamespacesProcedure: catalog.RoleOwner,
	adminv1connect.AdminServiceCreateAPIKeyProcedure:     catalog.RoleOperator,
	adminv1connect.AdminServiceListAPIKeysProcedure:      catalog.RoleViewer,
	adminv1connect.AdminServiceRotateAPIKeyProcedure:     catalog.RoleOperator,
	adminv1connect.AdminServiceRevokeAPIKeyProcedure:     catalog.RoleOperator,
	adminv1connect.AdminServiceGetUsageProcedure:         catalog.RoleViewer,
	adminv1connect.AdminServiceListAuditProcedure:        catalog.RoleViewer,
	adminv1connect.AdminServiceCreateOperatorProcedure:   catalog.RoleOwner,
	adminv1connect.AdminServiceListOperatorsProcedure:    catalog.RoleOwner,
	adminv1connect.AdminServiceDeleteOperatorProcedure:   catalog.RoleOwner,
	adminv1connect.AdminServiceRemoveNodeProcedure:       catalog.RoleOwner,
}

func roleOf(procedure string) catalog.Role { return roles[procedure] }

// adminHandler serves flotilla.admin.v1.AdminService: what is about operators and
// the cluster here, what is about tenants in admin_tenant.go.
type adminHandler struct {
	adminv1connect.UnimplementedAdminServiceHandler
	administration
}

// actorBytesMax is longer than any actor's name.
const actorBytesMax = 256

// checkActor checks whose acts are asked for; "" is everybody's. A name that nobody can
// have would only look as if nothing had been done.
func checkActor(actor string) error {
	if len(actor) > actorBytesMax {
		return &mvcc.InvalidError{Field: "actor", Message: fmt.Sprintf("takes up to %d bytes", actorBytesMax)}
	}
	if actor == "" || actor == catalog.ActorPlatform {
		return nil
	}
	kinds := []string{"operator:", "key:", "issuer:", "node:"}
	if !slices.ContainsFunc(kinds, func(kind string) bool { return strings.HasPrefix(actor, kind) }) {
		return &mvcc.InvalidError{Field: "actor", Message: fmt.Sprintf(
			"takes a name as the list has it: it begins with %s, or is %s", strings.Join(kinds, ", "), catalog.ActorPlatform)}
	}
	return nil
}

// ListAudit implements AdminService.
func (h *adminHandler) ListAudit(ctx context.Context, req *adminv1.ListAuditRequest) (*adminv1.ListAuditResponse, error) {
	filter := catalog.AuditFilter{Actor: req.GetActor(), Before: req.GetPageToken(), Limit: int(min(req.GetPageSize(), pageSizeMax))}
	if filter.Before != "" && !catalog.ValidAuditID(filter.Before) {
		return nil, &mvcc.InvalidError{Field: "page_token", Message: "must be from the answer before"}
	}
	if err := checkActor(filter.Actor); err != nil {
		return nil, err
	}
	if filter.Limit == 0 {
		filter.Limit = 100
	}
	if req.GetTenant() != "" {
		tenant, err := tenantID(req.GetTenant())
		if err != nil {
			return nil, err
		}
		filter.Tenant = tenant
	}
	if req.GetStartTime() != nil {
		filter.Since = req.GetStartTime().AsTime()
	}
	entries, next, err := h.catalog.ListAudit(ctx, filter)
	if err != nil {
		return nil, err
	}
	return &adminv1.ListAuditResponse{Entries: entries, NextPageToken: next}, nil
}

// CreateOperator implements AdminService.
func (h *adminHandler) CreateOperator(ctx context.Context, req *adminv1.CreateOperatorRequest) (*adminv1.CreateOperatorResponse, error) {
	asked := req.GetOperator()
	if err := checkDescription(asked.GetDescription()); err != nil {
		return nil, err
	}
	if asked.GetRole() < catalog.RoleViewer || asked.GetRole() > catalog.RoleOwner {
		return nil, &mvcc.InvalidError{Field: "role", Message: "takes viewer, operator or owner"}
	}
	expire, err := h.expiry(asked.GetExpireTime())
	if err != nil {
		return nil, err
	}
	key, secret, err := auth.GenerateOperatorKey(asked.GetName(), rand.Reader)
	if err != nil {
		return nil, err
	}
	hash := key.Hash()
	created, err := h.catalog.CreateOperator(ctx, catalog.Operator{
		Name: asked.GetName(), SecretHash: hash[:], Role: asked.GetRole(), Description: asked.GetDescription(), Expire: expire,
	})
	if err != nil {
		return nil, err
	}
	return &adminv1.CreateOperatorResponse{Operator: operatorOf(&created), Secret: secret}, nil
}

func operatorOf(o *catalog.Operator) *adminv1.Operator {
	return &adminv1.Operator{
		Name: o.Name, Role: o.Role, Description: o.Description, CreateTime: timestamppb.New(o.CreateTime), ExpireTime: timestampOf(o.Expire),
	}
}

// ListOperators implements AdminService.
func (h *adminHandler) ListOperators(ctx context.Context, _ *adminv1.ListOperatorsRequest) (*adminv1.ListOperatorsResponse, error) {
	list, err := h.catalog.ListOperators(ctx)
	if err != nil {
		return nil, err
	}
	response := &adminv1.ListOperatorsResponse{}
	for _, o := range list {
		response.Operators = append(response.Operators, operatorOf(o))
	}
	return response, nil
}

// DeleteOperator implements AdminService.
func (h *adminHandler) DeleteOperator(ctx context.Context, req *adminv1.DeleteOperatorRequest) (*adminv1.DeleteOperatorResponse, error) {
	if err := h.catalog.DeleteOperator(ctx, req.GetName()); err != nil {
		return nil, err
	}
	return &adminv1.DeleteOperatorResponse{}, nil
}

// RemoveNode implements AdminService.
func (h *adminHandler) RemoveNode(ctx context.Context, req *adminv1.RemoveNodeRequest) (*adminv1.RemoveNodeResponse, error) {
	if req.GetNode() == "" {
		return nil, &mvcc.InvalidError{Field: "node", Message: "takes the id or the name of a node"}
	}
	if err := h.catalog.RemoveNode(ctx, req.GetNode()); err != nil {
		return nil, err
	}
	return &adminv1.RemoveNodeResponse{}, nil
}
