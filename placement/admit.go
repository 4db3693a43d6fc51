package placement

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/placement/catalog"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// What a node says of itself has bounds, as all nodes keep it in memory.
const (
	nameBytesMax    = 64
	addressBytesMax = 512
	nodesMax        = 1000
	// goneMax bounds the records of nodes that were removed and have no replicas
	// any more. They are kept to tell such a node, should it come back, that it
	// was: a forgotten one joins anew, and drops what it has.
	goneMax = 100
)

// checkJoin refuses what cannot be written down.
func checkJoin(req *Joining) error {
	n := req.Node
	for _, field := range []struct {
		name, value string
		max         int
		required    bool
	}{
		{"node_id", req.NodeID, nameBytesMax, true},
		{"name", n.GetName(), nameBytesMax, true},
		{"boot_id", n.GetBootId(), nameBytesMax, true},
		{"zone", n.GetZone(), nameBytesMax, false},
		{"version", n.GetVersion(), nameBytesMax, false},
		{"peer_address", n.GetPeerAddress(), addressBytesMax, true},
		{"raft_address", n.GetRaftAddress(), addressBytesMax, n.GetHosts()},
		{"api_url", n.GetApiUrl(), addressBytesMax, false},
		{"etcd_url", n.GetEtcdUrl(), addressBytesMax, false},
	} {
		switch {
		case field.required && field.value == "":
			return refuse("%s is missing", field.name)
		case len(field.value) > field.max:
			return refuse("%s has %d bytes, more than %d", field.name, len(field.value), field.max)
		}
	}
	if strings.Contains(req.NodeID, "/") {
		return refuse("node_id has a slash")
	}
	return nil
}

// admit decides whether a node may join, and returns what is to be written down
// for it; nil if all of it is there.
func (m *Membership) admit(ctx context.Context, records *catalog.Records, req *Joining, bell *doorbell) (*catalog.Change, error) {
	cluster := records.Directory.GetCluster()
	switch {
	case cluster.GetClusterId() == "":
		return nil, errors.New("the cluster is being set up: try again")
	case req.ClusterID != cluster.GetClusterId():
		return nil, refuse("this is cluster %s; the node's data directory belongs to cluster %s: use an empty directory, or join the other cluster",
			cluster.GetClusterId(), req.ClusterID)
	case req.Node.GetLevel() < cluster.GetLevel():
		return nil, refuse("the cluster uses feature level %d, and version %s of the node knows no more than %d: upgrade the node",
			cluster.GetLevel(), cmp.Or(req.Node.GetVersion(), "?"), req.Node.GetLevel())
	}
	known := records.Directory.GetNodes()[req.NodeID]
	if err := m.admitKnown(ctx, known, req, bell); err != nil {
		return nil, err
	}
	replaced, err := m.replaces(ctx, records, req, bell)
	if err != nil {
		return nil, err
	}
	gone := gone(records.Directory)
	if known == nil && len(records.Directory.GetNodes())-len(gone) >= nodesMax {
		return nil, refuse("the cluster has %d nodes on record, and no more are allowed", nodesMax)
	}
	node := joined(known, req.Node, m.now())
	if len(replaced) == 0 && proto.Equal(known, node) {
		return nil, nil //nolint:nilnil // nothing to do is no error
	}
	change := records.Change()
	change.PutNode(req.NodeID, node)
	for _, id := range replaced {
		old := proto.CloneOf(records.Directory.GetNodes()[id])
		old.State = internalv1.NodeState_NODE_STATE_REMOVED
		old.DeadSinceMs = uint64(m.now().UnixMilli()) // its sign of life may last for some seconds yet
		change.PutNode(id, old)
		m.log.Info("node is replaced by one of the same name", "node", id, "name", old.GetName(), "by", req.NodeID)
	}
	for _, id := range gone[:max(0, len(gone)-goneMax)] {
		change.ForgetNode(id)
	}
	// Rewriting the cluster's record makes two joins at once conflict, so that no
	// name is given twice, and a join with the raising of the level.
	change.PutCluster(cluster)
	m.log.Info("node joins", "node", req.NodeID, "name", node.GetName(), "address", node.GetPeerAddress(), "new", known == nil)
	return change, nil
}

// gone lists the nodes that were removed and have no replicas any more, those that
// joined first first.
func gone(d *internalv1.Directory) []string {
	needed := make(map[string]bool)
	for _, placed := range d.GetPlacements() {
		for _, r := range placed.GetReplicas() {
			needed[r.GetNodeId()] = true
		}
	}
	var list []string
	for id, node := range d.GetNodes() {
		if node.GetState() == internalv1.NodeState_NODE_STATE_REMOVED && !needed[id] {
			list = append(list, id)
		}
	}
	slices.SortFunc(list, func(a, b string) int {
		return cmp.Or(cmp.Compare(d.GetNodes()[a].GetJoinTimeMs(), d.GetNodes()[b].GetJoinTimeMs()), cmp.Compare(a, b))
	})
	return list
}

// joined is a node's record after a join.
func joined(known, said *internalv1.NodeRecord, now time.Time) *internalv1.NodeRecord {
	node := catalog.NewNode(said, now)
	if known != nil {
		node.JoinTimeMs = known.GetJoinTimeMs()
	}
	return node
}

// admitKnown refuses a node that must not come back, or that runs elsewhere.
func (m *Membership) admitKnown(ctx context.Context, known *internalv1.NodeRecord, req *Joining, bell *doorbell) error {
	switch {
	case known == nil:
		return nil
	case known.GetState() == internalv1.NodeState_NODE_STATE_REMOVED:
		return refuse("node %s was removed from the cluster, by an operator or because a new node has its name: start with an empty data directory, and it joins as a new node", req.NodeID)
	case known.GetBootId() == req.Node.GetBootId():
		return nil // it asks again
	}
	there := bell.ring(ctx, known.GetPeerAddress())
	if there.GetNodeId() == req.NodeID && there.GetBootId() != req.Node.GetBootId() {
		return refuse("node %s runs already, at %s: the data directory was copied; stop one of the two, and give the other an empty directory",
			req.NodeID, known.GetPeerAddress())
	}
	return nil
}

// replaces returns the nodes that a node takes the place of, as it has their name.
// A name is free when nobody answers as the node that had it: it is dead, or was
// started again with an empty directory.
func (m *Membership) replaces(ctx context.Context, records *catalog.Records, req *Joining, bell *doorbell) (list []string, err error) {
	for _, id := range slices.Sorted(maps.Keys(records.Directory.GetNodes())) {
		other := records.Directory.GetNodes()[id]
		removed := other.GetState() == internalv1.NodeState_NODE_STATE_REMOVED
		if id == req.NodeID || other.GetName() != req.Node.GetName() || removed {
			continue
		}
		there := bell.ring(ctx, other.GetPeerAddress())
		switch {
		case there.GetNodeId() == id:
			return nil, refuse("the name %q is taken by node %s, which runs at %s: choose another name", other.GetName(), id, other.GetPeerAddress())
		case there.GetBootId() == req.Node.GetBootId():
			// It came with an empty directory, and has the old one's address.
		case records.Live[id] != "":
			return nil, fmt.Errorf("the name %q is taken by node %s, which showed signs of life within the last seconds, but does not answer at %s: try again, or choose another name",
				other.GetName(), id, other.GetPeerAddress())
		}
		list = append(list, id)
	}
	return list, nil
}

// doorbell asks who is at an address, once for each.
type doorbell struct {
	hello   HelloFunc
	self    Self
	answers map[string]*internalv1.HelloResponse
}

// ringTimeout is how long a node may take to say who it is.
const ringTimeout = 2 * time.Second

// ring returns what the node at an address says; nil if nobody answers.
func (b *doorbell) ring(ctx context.Context, address string) *internalv1.HelloResponse {
	if answer, ok := b.answers[address]; ok || address == "" {
		return answer
	}
	ctx, cancel := context.WithTimeoutCause(ctx, ringTimeout, fmt.Errorf("nobody answers at %s", address))
	defer cancel()
	answer, err := b.hello(ctx, address, &internalv1.HelloRequest{
		ClusterId: b.self.ClusterID, NodeId: b.self.NodeID, BootId: b.self.BootID,
	})
	if err != nil {
		answer = nil
	}
	b.answers[address] = answer
	return answer
}
