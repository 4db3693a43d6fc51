package catalog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
)

// Records is the cluster's records of nodes and shards, as of one revision.
type Records struct {
	// Directory is the nodes, the placements and the cluster. It is not to be
	// changed.
	Directory *internalv1.Directory
	// Live is the boot ids of the nodes that show signs of life, by node id.
	Live map[string]string

	revisions map[string]uint64 // by key
}

// Records reads the records of nodes and shards, current as of the call.
func (c *Catalog) Records(ctx context.Context) (*Records, error) {
	r := &Records{Directory: emptyDirectory(), Live: make(map[string]string), revisions: make(map[string]uint64)}
	cluster, err := query[*flotillav1.GetResponse](ctx, c, &flotillav1.GetRequest{Key: []byte(clusterKey)})
	if err != nil {
		return nil, fmt.Errorf("read the cluster from the catalog: %w", err)
	}
	r.Directory.Revision = cluster.GetRevision()
	if cluster.GetKv() != nil {
		if err := r.add(cluster.GetKv()); err != nil {
			return nil, err
		}
	}
	for _, prefix := range []string{nodesPrefix, livePrefix, placementsPrefix} {
		part := span{prefix: prefix, revision: r.Directory.GetRevision()}
		if _, err := c.list(ctx, part, func(_ string, kv *flotillav1.KeyValue) error { return r.add(kv) }); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *Records) add(kv *flotillav1.KeyValue) error {
	r.revisions[string(kv.GetKey())] = kv.GetModRevision()
	if node, ok := strings.CutPrefix(string(kv.GetKey()), livePrefix); ok {
		r.Live[node] = string(kv.GetValue())
		return nil
	}
	return setRecord(r.Directory, kv.GetKey(), kv.GetValue(), false)
}

// Change begins a change of what was read.
func (r *Records) Change() *Change { return &Change{read: r} }

// A Change is a transaction on the records of nodes and shards. It is refused
// unless every record that it touches is as it was read.
type Change struct {
	read *Records
	txn  change
}

// PutNode writes the record of a node.
func (t *Change) PutNode(id string, node *internalv1.NodeRecord) { t.put(nodeKey(id), node) }

// ForgetNode removes the record of a node.
func (t *Change) ForgetNode(id string) {
	t.txn.expect(nodeKey(id), t.read.revisions[nodeKey(id)])
	t.txn.remove(nodeKey(id))
}

// PutPlacement writes the placement of a shard.
func (t *Change) PutPlacement(id shards.ShardID, placed *internalv1.PlacementRecord) {
	t.put(placementKey(id), placed)
}

// PutCluster writes the cluster's record. The numbers of namespaces come from it
// too, so a change with it may meet conflicts often.
func (t *Change) PutCluster(cluster *internalv1.ClusterRecord) { t.put(clusterKey, cluster) }

func (t *Change) put(key string, message proto.Message) {
	t.txn.replace(key, t.read.revisions[key], message)
}

// Commit applies a change whole, or returns ErrConflict with nothing changed.
func (c *Catalog) Commit(ctx context.Context, t *Change) error { return c.commit(ctx, &t.txn) }

// Placement reads the placement of a shard, current as of the call; nil if there
// is none.
func (c *Catalog) Placement(ctx context.Context, id shards.ShardID) (*internalv1.PlacementRecord, error) {
	r, err := read(ctx, c, placementKey(id), &internalv1.PlacementRecord{})
	if err != nil || !r.exists() {
		return nil, err
	}
	return r.message, nil
}

// ChangePlacement reads the placement of a shard and writes what edit makes of
// it, until nobody else changes it in between. An edit that returns false leaves
// it as it is, as does a placement that does not exist.
func (c *Catalog) ChangePlacement(ctx context.Context, id shards.ShardID, edit func(*internalv1.PlacementRecord) bool) error {
	return retryConflicts(ctx, func() error {
		r, err := read(ctx, c, placementKey(id), &internalv1.PlacementRecord{})
		if err != nil || !r.exists() || !edit(r.message) {
			return err
		}
		var t change
		t.replace(placementKey(id), r.revision, r.message)
		return c.commit(ctx, &t)
	})
}

// NewNode is the record of a node that joins, from what it says of itself.
func NewNode(said *internalv1.NodeRecord, now time.Time) *internalv1.NodeRecord {
	node := proto.CloneOf(said)
	node.State = internalv1.NodeState_NODE_STATE_ACTIVE
	node.JoinTimeMs, node.DeadSinceMs = uint64(now.UnixMilli()), 0
	return node
}
