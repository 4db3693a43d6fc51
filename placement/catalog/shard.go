package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
)

// shardsMax bounds the data shards of a cluster: each costs every node that has
// a replica of it some work at all times.
const shardsMax = 1024

var (
	// ErrNoShard says that no shard is there yet that a namespace could live on.
	ErrNoShard = fmt.Errorf("none serves namespaces yet: %w", shards.ErrShardNotFound)
	// ErrTooManyShards refuses to add shards beyond 1,024.
	ErrTooManyShards = errors.New("a cluster has at most 1024 shards for namespaces")
)

// shardRecord pairs a data shard with its record.
type shardRecord struct {
	id shards.ShardID
	record[*internalv1.ShardRecord]
	// chosen tells that a namespace is being placed on it.
	chosen bool
}

// dataShards lists the shards that namespaces are placed on, by number.
func (c *Catalog) dataShards(ctx context.Context) ([]shardRecord, error) {
	var list []shardRecord
	_, err := c.list(ctx, span{prefix: shardsPrefix}, func(name string, kv *flotillav1.KeyValue) error {
		id, err := parseShard(name)
		if err != nil {
			return err
		}
		message, err := decode("shard", kv.GetValue(), &internalv1.ShardRecord{})
		list = append(list, shardRecord{id: id, record: record[*internalv1.ShardRecord]{message, kv.GetModRevision()}})
		return err
	})
	slices.SortFunc(list, func(a, b shardRecord) int { return cmp.Compare(a.id, b.id) })
	return list, err
}

// servingShards lists the data shards, without those that have no replica yet.
func (c *Catalog) servingShards(ctx context.Context) ([]shardRecord, error) {
	list, err := c.dataShards(ctx)
	if err != nil {
		return nil, err
	}
	_, err = c.list(ctx, span{prefix: placementsPrefix}, func(name string, kv *flotillav1.KeyValue) error {
		id, err := parseShard(name)
		if err != nil {
			return err
		}
		placed, err := decode("placement", kv.GetValue(), &internalv1.PlacementRecord{})
		if len(placed.GetReplicas()) == 0 {
			list = slices.DeleteFunc(list, func(s shardRecord) bool { return s.id == id })
		}
		return err
	})
	if err == nil && len(list) == 0 {
		err = ErrNoShard
	}
	return list, err
}

// emptiest is the shard with the fewest namespaces, the first of several.
func emptiest(list []shardRecord) *shardRecord {
	best := &list[0]
	for i := range list {
		if list[i].message.GetNamespaces() < best.message.GetNamespaces() {
			best = &list[i]
		}
	}
	return best
}

// AddShards adds n data shards. Placement gives each its first replica, and
// namespaces are placed on them from then on. It returns ErrTooManyShards.
func (c *Catalog) AddShards(ctx context.Context, n int) error {
	return retryConflicts(func() error { return c.addShards(ctx, n) })
}

func (c *Catalog) addShards(ctx context.Context, n int) error {
	list, err := c.dataShards(ctx)
	if err != nil {
		return err
	}
	if n < 1 || len(list)+n > shardsMax {
		return fmt.Errorf("add %d shards to %d: %w", n, len(list), ErrTooManyShards)
	}
	next := shards.SystemShard + 1
	if len(list) > 0 {
		next = list[len(list)-1].id + 1
	}
	var t change
	for i := range n {
		id := next + shards.ShardID(i)
		t.replace(shardKey(id), 0, &internalv1.ShardRecord{})
		t.replace(placementKey(id), 0, &internalv1.PlacementRecord{NextReplicaId: 1})
	}
	return c.commit(ctx, &t)
}
