package catalog

import (
	"context"
	"time"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/tenancy"
)

// NamespacesCreatedMax bounds the namespaces of one CreateNamespaces.
const NamespacesCreatedMax = 100

// Route is where a namespace lives.
type Route struct {
	Namespace tenancy.NamespaceID
	Shard     shards.ShardID
	// Epoch is the ownership epoch: a shard refuses commands of an older one.
	Epoch uint64
}

// Namespace describes a namespace to its tenant.
type Namespace struct {
	Name       string
	CreateTime time.Time
}

// Route finds a tenant's namespace, mostly without leaving memory. It returns
// tenancy.ErrNamespaceNotFound if the tenant has none of this name.
func (c *Catalog) Route(ctx context.Context, tenant tenancy.TenantID, name string) (Route, error) {
	key := namespaceKey(tenant, name)
	value, err := c.lookUp(ctx, key, func(ctx context.Context) (any, error) {
		r, err := read(ctx, c, key, &internalv1.NamespaceRecord{})
		if err != nil || !r.exists() {
			return nil, err
		}
		return Route{
			Namespace: tenancy.NamespaceID(r.message.GetId()),
			Shard:     shards.ShardID(r.message.GetShardId()),
			Epoch:     r.message.GetEpoch(),
		}, nil
	})
	if err != nil {
		return Route{}, err
	}
	route, ok := value.(Route)
	if !ok {
		return Route{}, tenancy.ErrNamespaceNotFound
	}
	return route, nil
}

// Forget has the next Route for a namespace read its record: a shard has refused
// what was routed by the one that is known.
func (c *Catalog) Forget(tenant tenancy.TenantID, name string) {
	c.cache.drop([]string{namespaceKey(tenant, name)})
}

// CreateNamespaces creates namespaces, all or none, each on the shard that has
// the fewest. It returns *tenancy.AlreadyExistsError, *tenancy.QuotaError
// beyond the tenant's limit, tenancy.ErrTenantNotFound, or ErrNoShard.
func (c *Catalog) CreateNamespaces(ctx context.Context, tenant tenancy.TenantID, names []string, limits tenancy.Limits) ([]Namespace, error) {
	if len(names) > NamespacesCreatedMax {
		return nil, &tenancy.QuotaError{Limit: "namespaces in one request", Value: NamespacesCreatedMax}
	}
	for _, name := range names {
		if err := tenancy.ValidateName("namespace", name); err != nil {
			return nil, err
		}
	}
	c.placing.Lock()
	defer c.placing.Unlock()
	now := c.now()
	err := retryConflicts(ctx, func() error { return c.placeNamespaces(ctx, tenant, names, limits, now) })
	if err != nil {
		return nil, err
	}
	created := make([]Namespace, len(names))
	for i, name := range names {
		created[i] = Namespace{Name: name, CreateTime: now}
	}
	return created, nil
}

// placeNamespaces makes one attempt, which a concurrent change may spoil.
func (c *Catalog) placeNamespaces(ctx context.Context, tenant tenancy.TenantID, names []string, limits tenancy.Limits, now time.Time) error {
	owner, err := read(ctx, c, tenantKey(tenant), &internalv1.TenantRecord{})
	if err != nil {
		return err
	}
	if !owner.exists() {
		return tenancy.ErrTenantNotFound
	}
	if owner.message.GetState() == TenantDeleting {
		return wrongState(tenant, owner.message)
	}
	if err := limits.CheckNamespaces(owner.message.GetNamespaces(), len(names)); err != nil {
		return err
	}
	placer, err := c.newPlacer(ctx)
	if err != nil {
		return err
	}
	var t change
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		existing, err := read(ctx, c, namespaceKey(tenant, name), &internalv1.NamespaceRecord{})
		if err != nil {
			return err
		}
		if existing.exists() || seen[name] {
			return &tenancy.AlreadyExistsError{What: "namespace", Name: name}
		}
		seen[name] = true
		if err := placer.place(&t, tenant, name, now); err != nil {
			return err
		}
		owner.message.Namespaces++
		c.audit(ctx, &t, tenant, name, "namespace created")
	}
	t.replace(tenantKey(tenant), owner.revision, owner.message)
	placer.finish(&t)
	return c.commit(ctx, &t)
}

// ListNamespaces lists a tenant's namespaces by name, at most limit of them
// after the name after, and whether there are more.
func (c *Catalog) ListNamespaces(ctx context.Context, tenant tenancy.TenantID, after string, limit uint64) (list []Namespace, more bool, err error) {
	part := span{prefix: namespacePrefix(tenant), after: after, limit: limit}
	more, err = c.list(ctx, part, func(name string, kv *flotillav1.KeyValue) error {
		r, err := decode("namespace", kv.GetValue(), &internalv1.NamespaceRecord{})
		list = append(list, Namespace{Name: name, CreateTime: time.UnixMilli(int64(r.GetCreateTimeMs()))})
		return err
	})
	return list, more, err
}
