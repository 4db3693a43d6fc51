package catalog

import (
	"context"
	"errors"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/tenancy"
)

// firstNamespaceID is the number of the first namespace of a tenant; the ones
// before it are the platform's.
const firstNamespaceID = 1024

// EnsureCluster writes the records of a new cluster; on one that has them it
// changes nothing.
func (c *Catalog) EnsureCluster(ctx context.Context) error {
	cluster, err := read(ctx, c, clusterKey, &internalv1.ClusterRecord{})
	if err != nil || cluster.exists() {
		return err
	}
	var t change
	t.expect(clusterKey, 0)
	t.put(clusterKey, &internalv1.ClusterRecord{NextNamespaceId: firstNamespaceID})
	for _, id := range c.cfg.DataShards {
		t.put(shardKey(id), &internalv1.ShardRecord{})
	}
	if err := c.commit(ctx, &t); !errors.Is(err, errConflict) {
		return err
	}
	return nil // somebody else wrote them
}

// CreateTenant creates a tenant without namespaces or keys. It returns a
// *tenancy.AlreadyExistsError if there is one of this name.
func (c *Catalog) CreateTenant(ctx context.Context, id tenancy.TenantID) error {
	if err := tenancy.ValidateName("tenant", string(id)); err != nil {
		return err
	}
	var t change
	t.expect(tenantKey(id), 0)
	t.put(tenantKey(id), &internalv1.TenantRecord{CreateTimeMs: uint64(c.now().UnixMilli())})
	err := c.commit(ctx, &t)
	if errors.Is(err, errConflict) {
		return &tenancy.AlreadyExistsError{What: "tenant", Name: string(id)}
	}
	return err
}

// shardRecord pairs a data shard with its record.
type shardRecord struct {
	id shards.ShardID
	record[*internalv1.ShardRecord]
}

func (c *Catalog) readShards(ctx context.Context) ([]shardRecord, error) {
	var list []shardRecord
	for _, id := range c.cfg.DataShards {
		r, err := read(ctx, c, shardKey(id), &internalv1.ShardRecord{})
		if err != nil {
			return nil, err
		}
		list = append(list, shardRecord{id, r})
	}
	return list, nil
}
