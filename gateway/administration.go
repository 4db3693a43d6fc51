package gateway

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/flotillakv/flotilla/gateway/route"
	"github.com/flotillakv/flotilla/placement/catalog"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

const (
	pageSizeMax         = 1000
	descriptionBytesMax = 256
	overlapDefault      = 24 * time.Hour
	overlapMax          = 30 * 24 * time.Hour
)

// administration is what can be done to a tenant, by its own administrators through
// TenantService and by operators through AdminService.
type administration struct {
	catalog *catalog.Catalog
	kv      *route.KV
	now     func() time.Time
}

func (a *administration) createNamespaces(ctx context.Context, tenant tenancy.TenantID, names []string) ([]*flotillav1.Namespace, error) {
	if err := checkNames(names); err != nil {
		return nil, err
	}
	of, err := a.catalog.Tenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	created, err := a.catalog.CreateNamespaces(ctx, tenant, names, of.Limits)
	if err != nil {
		return nil, err
	}
	return namespacesOf(created), nil
}

func (a *administration) deleteNamespaces(ctx context.Context, tenant tenancy.TenantID, names []string) error {
	if err := checkNames(names); err != nil {
		return err
	}
	for _, name := range names {
		if err := tenancy.ValidateName("namespace", name); err != nil {
			return err
		}
	}
	return a.catalog.DeleteNamespaces(ctx, tenant, names)
}

func checkNames(names []string) error {
	if n := len(names); n == 0 || n > catalog.NamespacesCreatedMax {
		return &mvcc.InvalidError{Field: "names", Message: "takes 1 to 100 names"}
	}
	return nil
}

// listNamespaces answers one page of a tenant's namespaces, and the token of the
// next one.
func (a *administration) listNamespaces(ctx context.Context, tenant tenancy.TenantID, size uint32, token string) ([]*flotillav1.Namespace, string, error) {
	limit, err := page(size, token)
	if err != nil {
		return nil, "", err
	}
	list, more, err := a.catalog.ListNamespaces(ctx, tenant, token, limit)
	if err != nil {
		return nil, "", err
	}
	next := ""
	if more {
		next = list[len(list)-1].Name
	}
	return namespacesOf(list), next, nil
}

// page checks what a request says of a page whose token is a name.
func page(size uint32, token string) (limit uint64, err error) {
	if token != "" {
		if err := tenancy.ValidateName("page token", token); err != nil {
			return 0, err
		}
	}
	if size == 0 {
		return pageSizeMax, nil
	}
	return min(uint64(size), pageSizeMax), nil
}

func namespacesOf(list []catalog.Namespace) []*flotillav1.Namespace {
	out := make([]*flotillav1.Namespace, len(list))
	for i, ns := range list {
		out[i] = &flotillav1.Namespace{Name: ns.Name, CreateTime: timestamppb.New(ns.CreateTime)}
	}
	return out
}

func (a *administration) createAPIKey(ctx context.Context, tenant tenancy.TenantID, req *flotillav1.CreateAPIKeyRequest) (*flotillav1.CreateAPIKeyResponse, error) {
	if err := checkDescription(req.GetDescription()); err != nil {
		return nil, err
	}
	expire, err := a.expiry(req.GetExpireTime())
	if err != nil {
		return nil, err
	}
	permissions, err := tenancy.ParseNewPermissions(req.GetPermissions())
	if err != nil {
		return nil, err
	}
	key, secret, err := newAPIKey(tenant)
	if err != nil {
		return nil, err
	}
	key.Description, key.Expire, key.Permissions = req.GetDescription(), expire, permissions
	created, err := a.catalog.CreateAPIKey(ctx, *key)
	if err != nil {
		return nil, err
	}
	return &flotillav1.CreateAPIKeyResponse{ApiKey: apiKeyOf(&created, time.Time{}), Secret: secret}, nil
}

// newAPIKey makes a key that is not stored yet, and its text with the secret.
func newAPIKey(tenant tenancy.TenantID) (*catalog.APIKey, string, error) {
	key, secret, err := auth.GenerateAPIKey(rand.Reader)
	if err != nil {
		return nil, "", err
	}
	hash := key.Hash()
	return &catalog.APIKey{ID: key.ID(), Tenant: tenant, SecretHash: hash[:]}, secret, nil
}

func checkDescription(text string) error {
	if len(text) > descriptionBytesMax {
		return &mvcc.InvalidError{Field: "description", Message: "takes up to 256 bytes"}
	}
	return nil
}

// expiry is when a credential shall end; zero if the request does not say.
func (a *administration) expiry(at *timestamppb.Timestamp) (time.Time, error) {
	if at == nil {
		return time.Time{}, nil
	}
	if err := at.CheckValid(); err != nil || !at.AsTime().After(a.now()) {
		return time.Time{}, &mvcc.InvalidError{Field: "expire_time", Message: "must be in the future"}
	}
	return at.AsTime(), nil
}

func (a *administration) listAPIKeys(ctx context.Context, tenant tenancy.TenantID) ([]*flotillav1.APIKey, error) {
	list, err := a.catalog.ListAPIKeys(ctx, tenant)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(list))
	for i, key := range list {
		ids[i] = key.ID
	}
	uses, err := a.catalog.KeyUses(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make([]*flotillav1.APIKey, len(list))
	for i, key := range list {
		out[i] = apiKeyOf(key, uses[i])
	}
	return out, nil
}

func apiKeyOf(key *catalog.APIKey, used time.Time) *flotillav1.APIKey {
	return &flotillav1.APIKey{
		Id: key.ID, Description: key.Description, CreateTime: timestamppb.New(key.CreateTime), ExpireTime: timestampOf(key.Expire),
		Permissions: key.Permissions.Proto(), LastUseTime: timestampOf(used), ReplacedBy: key.ReplacedBy,
	}
}

// timestampOf is absent for the zero time.
func timestampOf(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func (a *administration) rotateAPIKey(ctx context.Context, tenant tenancy.TenantID, req *flotillav1.RotateAPIKeyRequest) (*flotillav1.RotateAPIKeyResponse, error) {
	if err := checkKeyID(req.GetId()); err != nil {
		return nil, err
	}
	overlap := overlapDefault
	if req.GetOverlap() != nil {
		overlap = req.GetOverlap().AsDuration()
	}
	if overlap < 0 || overlap > overlapMax {
		return nil, &mvcc.InvalidError{Field: "overlap", Message: fmt.Sprintf("takes 0 to %d days", overlapMax/(24*time.Hour))}
	}
	expire, err := a.expiry(req.GetExpireTime())
	if err != nil {
		return nil, err
	}
	next, secret, err := newAPIKey(tenant)
	if err != nil {
		return nil, err
	}
	next.Expire = expire
	made, replaced, err := a.catalog.RotateAPIKey(ctx, req.GetId(), *next, overlap)
	if err != nil {
		return nil, err
	}
	return &flotillav1.RotateAPIKeyResponse{ApiKey: apiKeyOf(&made, time.Time{}), Secret: secret, Replaced: apiKeyOf(&replaced, time.Time{})}, nil
}

func (a *administration) revokeAPIKey(ctx context.Context, tenant tenancy.TenantID, id string) error {
	if err := checkKeyID(id); err != nil {
		return err
	}
	return a.catalog.RevokeAPIKey(ctx, tenant, id)
}

func checkKeyID(id string) error {
	if !auth.ValidID(id) {
		return &mvcc.InvalidError{Field: "id", Message: "is not the id of an API key: list the keys of the tenant (ListAPIKeys, `flotilla key list`)"}
	}
	return nil
}
