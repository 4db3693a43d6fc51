package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// apiKeysMax bounds the API keys of a tenant.
const apiKeysMax = 1000

// APIKey is an API key's record. The secret itself is nowhere.
type APIKey struct {
	ID          string
	Tenant      tenancy.TenantID
	SecretHash  []byte
	Description string
	CreateTime  time.Time
}

// CreateAPIKey stores a new key. It returns tenancy.ErrTenantNotFound,
// *tenancy.AlreadyExistsError or *tenancy.QuotaError.
func (c *Catalog) CreateAPIKey(ctx context.Context, key APIKey) (APIKey, error) {
	key.CreateTime = c.now()
	err := retryConflicts(ctx, func() error { return c.createAPIKey(ctx, key) })
	return key, err
}

func (c *Catalog) createAPIKey(ctx context.Context, key APIKey) error {
	owner, err := read(ctx, c, tenantKey(key.Tenant), &internalv1.TenantRecord{})
	if err != nil {
		return err
	}
	if !owner.exists() {
		return tenancy.ErrTenantNotFound
	}
	existing, err := read(ctx, c, apiKeyKey(key.ID), &internalv1.APIKeyRecord{})
	if err != nil {
		return err
	}
	if existing.exists() {
		return &tenancy.AlreadyExistsError{What: "API key", Name: key.ID}
	}
	ids, err := c.apiKeyIDs(ctx, key.Tenant)
	if err != nil {
		return err
	}
	if len(ids) >= apiKeysMax {
		return &tenancy.QuotaError{Limit: "API keys", Value: apiKeysMax}
	}
	var t change
	t.expect(apiKeyKey(key.ID), 0)
	// Rewriting the tenant's record makes concurrent changes of its keys
	// conflict, so that the bound and the last key hold.
	t.replace(tenantKey(key.Tenant), owner.revision, owner.message)
	t.put(apiKeyKey(key.ID), &internalv1.APIKeyRecord{
		Tenant: string(key.Tenant), SecretHash: key.SecretHash,
		Description: key.Description, CreateTimeMs: uint64(key.CreateTime.UnixMilli()),
	})
	t.put(tenantAPIKeyKey(key.Tenant, key.ID), nil)
	return c.commit(ctx, &t)
}

// APIKey finds a key by its id, mostly without leaving memory. It returns
// tenancy.ErrUnauthenticated if there is none, or it was revoked.
func (c *Catalog) APIKey(ctx context.Context, id string) (*APIKey, error) {
	key := apiKeyKey(id)
	value, err := c.lookUp(ctx, key, func(ctx context.Context) (any, error) {
		r, err := read(ctx, c, key, &internalv1.APIKeyRecord{})
		if err != nil || !r.exists() {
			return nil, err
		}
		return &APIKey{
			ID: id, Tenant: tenancy.TenantID(r.message.GetTenant()), SecretHash: r.message.GetSecretHash(),
			Description: r.message.GetDescription(), CreateTime: time.UnixMilli(int64(r.message.GetCreateTimeMs())),
		}, nil
	})
	if err != nil {
		return nil, err
	}
	found, ok := value.(*APIKey)
	if !ok {
		return nil, tenancy.ErrUnauthenticated
	}
	return found, nil
}

// ListAPIKeys lists a tenant's keys by id.
func (c *Catalog) ListAPIKeys(ctx context.Context, tenant tenancy.TenantID) ([]*APIKey, error) {
	ids, err := c.apiKeyIDs(ctx, tenant)
	if err != nil {
		return nil, err
	}
	var list []*APIKey
	for _, id := range ids {
		key, err := c.APIKey(ctx, id)
		if errors.Is(err, tenancy.ErrUnauthenticated) {
			continue // revoked meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, key)
	}
	return list, nil
}

func (c *Catalog) apiKeyIDs(ctx context.Context, tenant tenancy.TenantID) (ids []string, err error) {
	_, err = c.list(ctx, span{prefix: tenantAPIKeysPrefix(tenant)}, func(id string, _ *flotillav1.KeyValue) error {
		ids = append(ids, id)
		return nil
	})
	return ids, err
}

// ErrLastAPIKey refuses to revoke a tenant's last key: nobody could make
// another.
var ErrLastAPIKey = errors.New("it is the tenant's last API key")

// ErrAPIKeyNotFound says that the tenant has no key of this id.
var ErrAPIKeyNotFound = errors.New("the tenant has no API key of this id")

// RevokeAPIKey ends a key.
func (c *Catalog) RevokeAPIKey(ctx context.Context, tenant tenancy.TenantID, id string) error {
	return retryConflicts(ctx, func() error { return c.revokeAPIKey(ctx, tenant, id) })
}

func (c *Catalog) revokeAPIKey(ctx context.Context, tenant tenancy.TenantID, id string) error {
	owner, err := read(ctx, c, tenantKey(tenant), &internalv1.TenantRecord{})
	if err != nil {
		return err
	}
	r, err := read(ctx, c, apiKeyKey(id), &internalv1.APIKeyRecord{})
	if err != nil {
		return err
	}
	if !r.exists() || r.message.GetTenant() != string(tenant) {
		return fmt.Errorf("revoke an API key: %w", ErrAPIKeyNotFound)
	}
	ids, err := c.apiKeyIDs(ctx, tenant)
	if err != nil {
		return err
	}
	if len(ids) <= 1 {
		return fmt.Errorf("revoke an API key: %w", ErrLastAPIKey)
	}
	var t change
	t.replace(tenantKey(tenant), owner.revision, owner.message)
	t.expect(apiKeyKey(id), r.revision)
	t.remove(apiKeyKey(id))
	t.remove(tenantAPIKeyKey(tenant, id))
	return c.commit(ctx, &t)
}
