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

// APIKey is an API key's record. The secret itself is nowhere. It is shared, and not
// to be changed.
type APIKey struct {
	ID          string
	Tenant      tenancy.TenantID
	SecretHash  []byte
	Description string
	CreateTime  time.Time
	// Expire is when it ends; zero if it does not.
	Expire time.Time
	// Permissions are what it allows; none is everything.
	Permissions tenancy.Permissions
	// ReplacedBy is the key that has taken its place.
	ReplacedBy string
}

// administrates tells whether the key lets somebody make other keys, now and as long
// as nobody ends it.
func (k *APIKey) administrates() bool {
	return k.Expire.IsZero() && k.Permissions.Allow(tenancy.ActionAdmin, "", tenancy.AllKeys())
}

func apiKeyOf(id string, r *internalv1.APIKeyRecord) (*APIKey, error) {
	permissions, err := tenancy.ParsePermissions(r.GetPermissions())
	if err != nil {
		return nil, err // of a newer version
	}
	return &APIKey{
		ID: id, Tenant: tenancy.TenantID(r.GetTenant()), SecretHash: r.GetSecretHash(),
		Description: r.GetDescription(), CreateTime: timeOf(r.GetCreateTimeMs()), Expire: timeOf(r.GetExpireTimeMs()),
		Permissions: permissions, ReplacedBy: r.GetReplacedBy(),
	}, nil
}

// timeOf is a time of a record; 0 is none.
func timeOf(ms uint64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}

// putAPIKey adds a key that must not exist to a change.
func putAPIKey(t *change, key *APIKey) {
	record := &internalv1.APIKeyRecord{
		Tenant: string(key.Tenant), SecretHash: key.SecretHash,
		Description: key.Description, CreateTimeMs: uint64(key.CreateTime.UnixMilli()),
	}
	if !key.Expire.IsZero() {
		record.ExpireTimeMs = uint64(key.Expire.UnixMilli())
	}
	if len(key.Permissions) > 0 {
		record.Permissions = key.Permissions.Proto()
	}
	t.expect(apiKeyKey(key.ID), 0)
	t.put(apiKeyKey(key.ID), record)
	t.put(tenantAPIKeyKey(key.Tenant, key.ID), nil)
}

// CreateAPIKey stores a new key. It returns tenancy.ErrTenantNotFound,
// *tenancy.AlreadyExistsError or *tenancy.QuotaError.
func (c *Catalog) CreateAPIKey(ctx context.Context, key APIKey) (APIKey, error) {
	key.CreateTime = c.now()
	err := retryConflicts(ctx, func() error {
		var t change
		if err := c.addAPIKey(ctx, &t, &key); err != nil {
			return err
		}
		c.audit(ctx, &t, key.Tenant, key.ID, "API key created: "+describeKey(&key))
		return c.commit(ctx, &t)
	})
	return key, err
}

// addAPIKey adds a key to a change, with its tenant's record.
func (c *Catalog) addAPIKey(ctx context.Context, t *change, key *APIKey) error {
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
	// Rewriting the tenant's record makes concurrent changes of its keys
	// conflict, so that the bound and the last key hold.
	owner.message.ApiKeys = uint64(len(ids)) + 1
	t.replace(tenantKey(key.Tenant), owner.revision, owner.message)
	putAPIKey(t, key)
	return nil
}

// APIKey finds a key by its id, mostly without leaving memory. It returns
// tenancy.ErrUnauthenticated if there is none, or it was revoked. Whether it has
// expired is the caller's question.
func (c *Catalog) APIKey(ctx context.Context, id string) (*APIKey, error) {
	key := apiKeyKey(id)
	value, err := c.lookUp(ctx, key, func(ctx context.Context) (any, error) {
		r, err := read(ctx, c, key, &internalv1.APIKeyRecord{})
		if err != nil || !r.exists() {
			return nil, err
		}
		return apiKeyOf(id, r.message)
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

// ErrLastAPIKey refuses to end a tenant's last key that may make others and does not
// expire.
var ErrLastAPIKey = errors.New("it is the tenant's last API key that may administrate it and does not expire")

// ErrAPIKeyNotFound says that the tenant has no key of this id.
var ErrAPIKeyNotFound = errors.New("the tenant has no API key of this id")

// RevokeAPIKey ends a key. It returns ErrAPIKeyNotFound or ErrLastAPIKey.
func (c *Catalog) RevokeAPIKey(ctx context.Context, tenant tenancy.TenantID, id string) error {
	return retryConflicts(ctx, func() error { return c.revokeAPIKey(ctx, tenant, id) })
}

func (c *Catalog) revokeAPIKey(ctx context.Context, tenant tenancy.TenantID, id string) error {
	owned, err := c.ownedKey(ctx, tenant, id)
	if err != nil {
		return err
	}
	others, err := c.othersAdministrate(ctx, owned.key)
	if err != nil {
		return err
	}
	if owned.key.administrates() && !others {
		return fmt.Errorf("revoke an API key: %w", ErrLastAPIKey)
	}
	var t change
	owned.owner.message.ApiKeys = max(owned.owner.message.GetApiKeys(), 1) - 1
	t.replace(tenantKey(tenant), owned.owner.revision, owned.owner.message)
	t.expect(apiKeyKey(id), owned.revision)
	c.removeAPIKey(&t, tenant, id)
	c.audit(ctx, &t, tenant, id, "API key revoked")
	return c.commit(ctx, &t)
}

// ownedKey is a key and its tenant as they are.
type ownedKey struct {
	owner    record[*internalv1.TenantRecord]
	key      *APIKey
	message  *internalv1.APIKeyRecord
	revision uint64 // of the key
}

func (c *Catalog) ownedKey(ctx context.Context, tenant tenancy.TenantID, id string) (*ownedKey, error) {
	owner, err := read(ctx, c, tenantKey(tenant), &internalv1.TenantRecord{})
	if err != nil {
		return nil, err
	}
	r, err := read(ctx, c, apiKeyKey(id), &internalv1.APIKeyRecord{})
	if err != nil {
		return nil, err
	}
	if !r.exists() || r.message.GetTenant() != string(tenant) {
		return nil, fmt.Errorf("find an API key: %w", ErrAPIKeyNotFound)
	}
	key, err := apiKeyOf(id, r.message)
	return &ownedKey{owner: owner, key: key, message: r.message, revision: r.revision}, err
}

// othersAdministrate tells whether the tenant has another key that lets somebody
// make keys and does not expire. What is in memory may be a moment old, and another
// gateway may just have had the other key expire: it is asked only which keys to look
// at. A change that comes later conflicts, for it rewrites the tenant's record too.
func (c *Catalog) othersAdministrate(ctx context.Context, key *APIKey) (bool, error) {
	list, err := c.ListAPIKeys(ctx, key.Tenant)
	if err != nil {
		return false, err
	}
	for _, other := range list {
		if other.ID == key.ID || !other.administrates() {
			continue
		}
		owned, err := c.ownedKey(ctx, key.Tenant, other.ID)
		if errors.Is(err, ErrAPIKeyNotFound) {
			continue
		}
		if err != nil || owned.key.administrates() {
			return err == nil, err
		}
	}
	return false, nil
}

// RotateAPIKey makes a key that allows the same as another, which ends after the
// overlap. Of the new one the id, the hash and the expiry are given; without an expiry
// it has the other one's lifetime, from now on, and never ends only if that one never
// did. It and the one that it replaces are returned. Errors are those of CreateAPIKey, ErrAPIKeyNotFound,
// ErrLastAPIKey if nobody could administrate the tenant for good any more, and a
// *tenancy.WrongStateError if the key was replaced already.
func (c *Catalog) RotateAPIKey(ctx context.Context, id string, next APIKey, overlap time.Duration) (made, replaced APIKey, err error) {
	now, expire := c.now(), next.Expire
	err = retryConflicts(ctx, func() error {
		owned, err := c.ownedKey(ctx, next.Tenant, id)
		if err != nil {
			return err
		}
		if owned.key.ReplacedBy != "" {
			return &tenancy.WrongStateError{What: fmt.Sprintf("the API key %q", id), State: "replaced by " + owned.key.ReplacedBy}
		}
		next.CreateTime, next.Description, next.Permissions = now, owned.key.Description, owned.key.Permissions
		if next.Expire = expire; expire.IsZero() && !owned.key.Expire.IsZero() {
			next.Expire = now.Add(owned.key.Expire.Sub(owned.key.CreateTime))
		}
		if owned.key.administrates() && !next.administrates() {
			others, err := c.othersAdministrate(ctx, owned.key)
			if err != nil {
				return err
			}
			if !others {
				return fmt.Errorf("rotate an API key: %w", ErrLastAPIKey)
			}
		}
		var t change
		if err := c.addAPIKey(ctx, &t, &next); err != nil {
			return err
		}
		if end := now.Add(overlap); owned.key.Expire.IsZero() || end.Before(owned.key.Expire) {
			owned.message.ExpireTimeMs = uint64(end.UnixMilli())
		}
		owned.message.ReplacedBy = next.ID
		t.replace(apiKeyKey(id), owned.revision, owned.message)
		c.audit(ctx, &t, next.Tenant, id, fmt.Sprintf("API key ends %s, replaced by %s, which %s",
			timeOf(owned.message.GetExpireTimeMs()).UTC().Format(time.RFC3339), next.ID, describeKey(&next)))
		if err := c.commit(ctx, &t); err != nil {
			return err
		}
		old, err := apiKeyOf(id, owned.message)
		if err == nil {
			made, replaced = next, *old
		}
		return err
	})
	return made, replaced, err
}
