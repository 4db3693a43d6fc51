package catalog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/tenancy"
)

// A namespace that is deleted loses its record at once, so that nobody finds it, and
// its name is free. Its data is removed afterwards, under its number, which is never
// used again: a Purge says what is left to do.

// Purge is a namespace whose data is to be removed.
type Purge struct {
	Route
	Tenant tenancy.TenantID
}

// DeleteNamespaces deletes namespaces, all or none. It returns
// tenancy.ErrTenantNotFound or tenancy.ErrNamespaceNotFound.
func (c *Catalog) DeleteNamespaces(ctx context.Context, tenant tenancy.TenantID, names []string) error {
	if len(names) > NamespacesCreatedMax {
		return &tenancy.QuotaError{Limit: "namespaces in one request", Value: NamespacesCreatedMax}
	}
	c.placing.Lock()
	defer c.placing.Unlock()
	return retryConflicts(ctx, func() error {
		owner, err := read(ctx, c, tenantKey(tenant), &internalv1.TenantRecord{})
		if err != nil {
			return err
		}
		if !owner.exists() {
			return tenancy.ErrTenantNotFound
		}
		var t change
		if err := c.unlist(ctx, &t, tenant, names); err != nil {
			return err
		}
		for _, name := range names {
			c.audit(ctx, &t, tenant, name, "namespace deleted")
		}
		owner.message.Namespaces -= min(owner.message.GetNamespaces(), uint64(len(names)))
		t.replace(tenantKey(tenant), owner.revision, owner.message)
		return c.commit(ctx, &t)
	})
}

// unlist adds to a change that namespaces are to be purged, each with its name once.
func (c *Catalog) unlist(ctx context.Context, t *change, tenant tenancy.TenantID, names []string) error {
	shardRecords, err := c.dataShards(ctx)
	if err != nil {
		return err
	}
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		r, err := read(ctx, c, namespaceKey(tenant, name), &internalv1.NamespaceRecord{})
		if err != nil {
			return err
		}
		if !r.exists() || seen[name] {
			return tenancy.ErrNamespaceNotFound
		}
		seen[name] = true
		t.expect(namespaceKey(tenant, name), r.revision)
		t.remove(namespaceKey(tenant, name))
		t.put(purgeKey(tenancy.NamespaceID(r.message.GetId())), &internalv1.PurgeRecord{
			ShardId: r.message.GetShardId(), Epoch: r.message.GetEpoch() + 1, Tenant: string(tenant),
		})
		for i := range shardRecords {
			if s := &shardRecords[i]; uint64(s.id) == r.message.GetShardId() {
				s.chosen = true
				s.message.Namespaces -= min(s.message.GetNamespaces(), 1)
			}
		}
	}
	for _, s := range shardRecords {
		if s.chosen {
			t.replace(shardKey(s.id), s.revision, s.message)
		}
	}
	return nil
}

// Purges lists namespaces whose data is to be removed, at most limit of them.
func (c *Catalog) Purges(ctx context.Context, limit uint64) ([]Purge, error) {
	var list []Purge
	_, err := c.list(ctx, span{prefix: purgesPrefix, limit: limit}, func(name string, kv *flotillav1.KeyValue) error {
		id, err := strconv.ParseUint(name, 10, 64)
		if err != nil {
			return fmt.Errorf("the catalog has a purge without a number: %w", err)
		}
		r, err := decode("purge", kv.GetValue(), &internalv1.PurgeRecord{})
		list = append(list, Purge{
			Route:  Route{Namespace: tenancy.NamespaceID(id), Shard: shards.ShardID(r.GetShardId()), Epoch: r.GetEpoch()},
			Tenant: tenancy.TenantID(r.GetTenant()),
		})
		return err
	})
	return list, err
}

// DropSlice removes a slice of what a deleted namespace held, of at most rowsMax
// rows. It tells whether there is more. What the namespace has stored is its tenant's
// usage by then.
func (c *Catalog) DropSlice(ctx context.Context, p Purge, rowsMax uint32) (more bool, err error) {
	if err := c.keepStoredUsage(ctx, p); err != nil {
		return false, err
	}
	response, err := c.host.Propose(ctx, p.Shard, tenancy.SystemTenant, &internalv1.Command{
		NamespaceId: uint64(p.Namespace), Epoch: p.Epoch,
		Operation: &internalv1.Command_DropNamespaceSlice{DropNamespaceSlice: &internalv1.DropNamespaceSlice{RowsMax: rowsMax}},
	})
	if err != nil {
		return false, fmt.Errorf("remove the data of namespace %d: %w", p.Namespace, err)
	}
	slice, ok := response.(*internalv1.DropNamespaceSliceResponse)
	if !ok {
		return false, fmt.Errorf("remove the data of namespace %d: the answer is a %T", p.Namespace, response)
	}
	return slice.GetMore(), nil
}

// Purged forgets a namespace whose data is gone.
func (c *Catalog) Purged(ctx context.Context, p Purge) error {
	var t change
	t.remove(purgeKey(p.Namespace))
	return c.commit(ctx, &t)
}

// DueTenants lists tenants that were deleted and whose grace period is over, at most
// limit of them.
func (c *Catalog) DueTenants(ctx context.Context, limit uint64) ([]tenancy.TenantID, error) {
	var list []tenancy.TenantID
	now := uint64(c.now().UnixMilli())
	_, err := c.list(ctx, span{prefix: duePrefix, before: fmt.Sprintf("%016x", now+1), limit: limit}, func(name string, _ *flotillav1.KeyValue) error {
		if _, tenant, ok := strings.Cut(name, "-"); ok {
			list = append(list, tenancy.TenantID(tenant))
		}
		return nil
	})
	return list, err
}

// removedOfTenantMax bounds what one EraseTenant takes from the catalog of each
// kind.
const removedOfTenantMax = 100

// EraseTenant takes a slice of a due tenant's namespaces, keys and issuers from the
// catalog, and last the tenant itself, which it tells with done. Its usage and what
// the audit log says of it stay.
func (c *Catalog) EraseTenant(ctx context.Context, tenant tenancy.TenantID) (done bool, err error) {
	c.placing.Lock()
	defer c.placing.Unlock()
	err = retryConflicts(ctx, func() error {
		done, err = c.eraseSlice(ctx, tenant)
		return err
	})
	return done, err
}

func (c *Catalog) eraseSlice(ctx context.Context, tenant tenancy.TenantID) (done bool, err error) {
	owner, err := read(ctx, c, tenantKey(tenant), &internalv1.TenantRecord{})
	if err != nil {
		return false, err
	}
	due := owner.message.GetPurgeTimeMs()
	if !owner.exists() || due == 0 || due > uint64(c.now().UnixMilli()) {
		return false, errNotDue // it was resumed at the last moment
	}
	var t change
	var names []string
	_, err = c.list(ctx, span{prefix: namespacePrefix(tenant), limit: removedOfTenantMax}, func(name string, _ *flotillav1.KeyValue) error {
		names = append(names, name)
		return nil
	})
	if err != nil {
		return false, err
	}
	if len(names) > 0 {
		if err := c.unlist(ctx, &t, tenant, names); err != nil {
			return false, err
		}
	}
	removed := 0
	_, err = c.list(ctx, span{prefix: tenantAPIKeysPrefix(tenant), limit: removedOfTenantMax}, func(id string, _ *flotillav1.KeyValue) error {
		c.removeAPIKey(&t, tenant, id)
		removed++
		return nil
	})
	if err != nil {
		return false, err
	}
	if done = len(names)+removed == 0; done {
		t.remove(issuersKey(tenant))
		t.expect(tenantKey(tenant), owner.revision)
		t.remove(tenantKey(tenant))
		t.remove(dueKey(due, tenant))
		c.audit(ctx, &t, tenant, string(tenant), "removed with its data")
	} else {
		owner.message.Namespaces -= min(owner.message.GetNamespaces(), uint64(len(names)))
		owner.message.ApiKeys -= min(owner.message.GetApiKeys(), uint64(removed))
		t.replace(tenantKey(tenant), owner.revision, owner.message)
	}
	return done, c.commit(ctx, &t)
}

// errNotDue says that a tenant's data is not to be removed.
var errNotDue = errors.New("the tenant is not to be removed now")
