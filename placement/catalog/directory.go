package catalog

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/watch"
)

// A Directory knows where nodes and shards are, also while the catalog cannot be
// reached: it is seeded with what another node or a file tells, and a Catalog
// keeps it true. It has all nodes and placements, so it is small. Look-ups
// cost a map's; what they return is shared and not to be changed. Safe for
// concurrent use.
//
// D1: it never goes back to an earlier revision of the system namespace.
type Directory struct {
	state atomic.Pointer[directoryState]

	// mu guards the rest, and the order of states.
	mu sync.Mutex
	// revision is the one up to which all changes are in; at least the state's.
	revision uint64
	changed  chan struct{} // closed by the next change
}

// directoryState is never changed once it is there.
type directoryState struct {
	records *internalv1.Directory
	hosts   map[shards.ShardID][]string
}

// NewDirectory makes a directory that knows nothing.
func NewDirectory() *Directory {
	d := &Directory{changed: make(chan struct{})}
	d.state.Store(&directoryState{records: &internalv1.Directory{}})
	return d
}

// Seed takes over what another one knew, unless this one knows it or something
// newer already. The records are not to be changed any more.
func (d *Directory) Seed(records *internalv1.Directory) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if records.GetRevision() > d.revision {
		d.revision = records.GetRevision()
		d.publish(records)
	}
}

// apply takes over changes of the system namespace; with them all up to the
// revision are known.
func (d *Directory) apply(events []*watch.Event, revision uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if revision <= d.revision {
		return nil
	}
	var next *internalv1.Directory
	var failed error
	for _, e := range events {
		if uint64(e.Revision) <= d.revision || !inDirectory(e.Key) {
			continue
		}
		if next == nil {
			next = shallowCopy(d.state.Load().records)
		}
		err := setRecord(next, e.Key, e.Version.Value, e.IsDelete())
		if failed == nil {
			failed = err
		}
	}
	d.revision = revision
	if next != nil && !sameDirectory(next, d.state.Load().records) {
		next.Revision = revision
		d.publish(next)
	}
	return failed
}

// publish needs mu.
func (d *Directory) publish(records *internalv1.Directory) {
	d.state.Store(&directoryState{records: records, hosts: hostsOf(records)})
	close(d.changed)
	d.changed = make(chan struct{})
}

// Changed is closed once what Records returns changes. To miss nothing, take it
// before the records.
func (d *Directory) Changed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

// OnChange calls tell with what is known and each time that it changed, until ctx
// ends. Of changes in quick succession it tells the last.
func (d *Directory) OnChange(ctx context.Context, tell func(*internalv1.Directory)) {
	for {
		changed := d.Changed()
		tell(d.Records())
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// Records is all that is known.
func (d *Directory) Records() *internalv1.Directory { return d.state.Load().records }

// Nodes is the nodes by id, those that were removed included.
func (d *Directory) Nodes() map[string]*internalv1.NodeRecord { return d.Records().GetNodes() }

// Node is a node's record, nil if it is not known.
func (d *Directory) Node(id string) *internalv1.NodeRecord { return d.Records().GetNodes()[id] }

// Address is the host:port of the RPC of a node, "" if it is not known.
func (d *Directory) Address(node string) string { return d.Node(node).GetPeerAddress() }

// APIURL is the base URL of the API of a node, "" if it is not known.
func (d *Directory) APIURL(node string) string { return d.Node(node).GetApiUrl() }

// RaftAddress is the host:port of Raft of a node, "" if it is not known.
func (d *Directory) RaftAddress(node string) string { return d.Node(node).GetRaftAddress() }

// Placement is a shard's placement, nil if it is not known.
func (d *Directory) Placement(id shards.ShardID) *internalv1.PlacementRecord {
	return d.Records().GetPlacements()[uint64(id)]
}

// Hosts is the nodes that have a started replica of a shard, the best to ask
// first: the one that should lead, then voters, then the others; nodes that are
// dead or about to stop come last.
func (d *Directory) Hosts(id shards.ShardID) []string { return d.state.Load().hosts[id] }

// ClusterID is the cluster's UUID, "" if it is not known.
func (d *Directory) ClusterID() string { return d.Records().GetCluster().GetClusterId() }

// Level is the cluster's feature level, 0 if it is not known.
func (d *Directory) Level() uint32 { return d.Records().GetCluster().GetLevel() }

func hostsOf(records *internalv1.Directory) map[shards.ShardID][]string {
	hosts := make(map[shards.ShardID][]string, len(records.GetPlacements()))
	for id, placed := range records.GetPlacements() {
		started := slices.DeleteFunc(slices.Clone(placed.GetReplicas()), func(r *internalv1.ReplicaRecord) bool {
			return r.GetState() == internalv1.ReplicaState_REPLICA_STATE_ADDING
		})
		slices.SortStableFunc(started, func(a, b *internalv1.ReplicaRecord) int {
			return cmp.Or(
				cmp.Compare(hostRank(records, placed, a), hostRank(records, placed, b)),
				cmp.Compare(a.GetReplicaId(), b.GetReplicaId()),
			)
		})
		for _, r := range started {
			hosts[shards.ShardID(id)] = append(hosts[shards.ShardID(id)], r.GetNodeId())
		}
	}
	return hosts
}

// hostRank is the place of a replica among those to ask: less is better.
func hostRank(records *internalv1.Directory, placed *internalv1.PlacementRecord, r *internalv1.ReplicaRecord) int {
	rank := 0
	node := records.GetNodes()[r.GetNodeId()]
	if node.GetDeadSinceMs() != 0 || node.GetState() != internalv1.NodeState_NODE_STATE_ACTIVE {
		rank += 10
	}
	switch {
	case placed.GetLeaderNodeId() == r.GetNodeId():
	case r.GetState() == internalv1.ReplicaState_REPLICA_STATE_VOTER, r.GetState() == internalv1.ReplicaState_REPLICA_STATE_FIRST:
		rank++
	default:
		rank += 2
	}
	return rank
}
