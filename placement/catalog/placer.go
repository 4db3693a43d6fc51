package catalog

import (
	"context"
	"time"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/tenancy"
)

// placer puts new namespaces on the shards that have the fewest.
type placer struct {
	cluster record[*internalv1.ClusterRecord]
	shards  []shardRecord
	// placed tells whether anything is.
	placed bool
}

// newPlacer needs placing to be held.
func (c *Catalog) newPlacer(ctx context.Context) (*placer, error) {
	cluster, err := read(ctx, c, clusterKey, &internalv1.ClusterRecord{})
	if err != nil {
		return nil, err
	}
	shards, err := c.dataShards(ctx)
	return &placer{cluster: cluster, shards: shards}, err
}

// place adds a namespace that must not exist to a change, or returns ErrNoShard.
func (p *placer) place(t *change, tenant tenancy.TenantID, name string, now time.Time) error {
	if len(p.shards) == 0 {
		return ErrNoShard
	}
	shard := emptiest(p.shards)
	shard.chosen = true
	shard.message.Namespaces++
	t.expect(namespaceKey(tenant, name), 0)
	t.put(namespaceKey(tenant, name), &internalv1.NamespaceRecord{
		Id: p.cluster.message.GetNextNamespaceId(), ShardId: uint64(shard.id), Epoch: 1,
		CreateTimeMs: uint64(now.UnixMilli()),
	})
	p.cluster.message.NextNamespaceId++
	p.placed = true
	return nil
}

// finish adds what was counted. What changes a shard's record changes the
// cluster's too, so those that stay as they are need not be looked at.
func (p *placer) finish(t *change) {
	if !p.placed {
		return
	}
	t.replace(clusterKey, p.cluster.revision, p.cluster.message)
	for _, s := range p.shards {
		if s.chosen {
			t.replace(shardKey(s.id), s.revision, s.message)
		}
	}
}
