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
	// ErrNoShard says that the cluster has no shard that a namespace could live on.
	ErrNoShard = fmt.Errorf("none serves namespaces: %w", shards.ErrShardNotFound)
	// ErrNoNode says that no node could have a replica.
	ErrNoNode = errors.New("no node that hosts replicas is active and alive")
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

// GrowShards adds data shards until there are so many, however many callers ask for
// that at the same time. Each has a first replica on the node that has the fewest, and
// namespaces are placed on it from then on; placement adds the other replicas. It returns
// ErrTooManyShards, or ErrNoNode.
func (c *Catalog) GrowShards(ctx context.Context, count int) error {
	return retryConflicts(ctx, func() error { return c.growShards(ctx, count) })
}

func (c *Catalog) growShards(ctx context.Context, count int) error {
	records, err := c.Records(ctx)
	if err != nil {
		return err
	}
	have := len(records.Directory.GetPlacements()) - 1 // the system shard is none of them
	if count > shardsMax {
		return fmt.Errorf("have %d shards: %w", count, ErrTooManyShards)
	}
	if count <= have {
		return nil
	}
	next := shards.SystemShard
	for id := range records.Directory.GetPlacements() {
		next = max(next, shards.ShardID(id))
	}
	shares := sharesOf(records)
	if len(shares) == 0 {
		return fmt.Errorf("add %d shards: %w", count-have, ErrNoNode)
	}
	var t change
	for range count - have {
		next++
		least := slices.MinFunc(shares, func(a, b *share) int {
			return cmp.Or(cmp.Compare(a.replicas, b.replicas), cmp.Compare(a.node, b.node))
		})
		least.replicas++
		t.replace(shardKey(next), 0, &internalv1.ShardRecord{})
		t.replace(placementKey(next), 0, lonePlacement(least.node, internalv1.ReplicaState_REPLICA_STATE_FIRST))
	}
	return c.commit(ctx, &t)
}

// share is what a node that may get replicas has of them.
type share struct {
	node     string
	replicas int
}

// sharesOf lists the nodes that may get replicas; those that show signs of life, if
// any does. The only node of a cluster need not show any.
func sharesOf(records *Records) []*share {
	var living, all []*share
	for id, node := range records.Directory.GetNodes() {
		if !node.GetHosts() || node.GetState() != internalv1.NodeState_NODE_STATE_ACTIVE || node.GetDeadSinceMs() != 0 {
			continue
		}
		s := &share{node: id}
		for _, placed := range records.Directory.GetPlacements() {
			if slices.ContainsFunc(placed.GetReplicas(), func(r *internalv1.ReplicaRecord) bool { return r.GetNodeId() == id }) {
				s.replicas++
			}
		}
		all = append(all, s)
		if records.Live[id] != "" {
			living = append(living, s)
		}
	}
	if len(living) > 0 {
		return living
	}
	return all
}
