package plan

import (
	"cmp"
	"slices"
	"time"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// A View is the cluster at one moment.
type View struct {
	// Now is the moment.
	Now time.Time
	// Nodes are all nodes that have a record, in any order.
	Nodes []Node
	// Shards are all shards that have a placement, in the order in which they are
	// looked after: the system shard comes first.
	Shards []Shard
	// Replication is how many voters a shard should have. An even number counts
	// as one less.
	Replication int
	// Level is the cluster's feature level.
	Level uint32
}

// Node is one node of a view.
type Node struct {
	ID string
	// Record is what the catalog says of it.
	Record *internalv1.NodeRecord
	// Alive tells that it shows signs of life at this moment.
	Alive bool
	// Since is since when it does, or does not, as far as is known.
	Since time.Time
}

// Shard is one shard of a view.
type Shard struct {
	ID uint64
	// Record is its placement.
	Record *internalv1.PlacementRecord
}

// Policy is how much is done at once, and how soon.
type Policy struct {
	// DeadAfter is for how long a node must show no sign of life until it is noted
	// as dead: one that has just joined, or could not renew its sign because the
	// system shard was away, is not. Default 5 s.
	DeadAfter time.Duration
	// ReplaceAfter is for how long a node must be dead until its replicas are
	// replaced. Default 5 min.
	ReplaceAfter time.Duration
	// LeadAfter is for how long a node must be alive until it is given shards to
	// lead. Default 10 s.
	LeadAfter time.Duration
	// ComingMax bounds the replicas that are added or catch up at a time, and
	// ComingPerNodeMax those on one node: each is sent a shard's whole state. The
	// system shard's do not wait for others. Defaults 4 and 2.
	ComingMax, ComingPerNodeMax int
	// LeadersMax bounds the leaders that are chosen anew in one plan. Default 4.
	LeadersMax int
}

// WithDefaults returns the policy with defaults in place of zeros.
func (p Policy) WithDefaults() Policy {
	p.DeadAfter = cmp.Or(p.DeadAfter, 5*time.Second)
	p.ReplaceAfter = cmp.Or(p.ReplaceAfter, 5*time.Minute)
	p.LeadAfter = cmp.Or(p.LeadAfter, 10*time.Second)
	p.ComingMax = cmp.Or(p.ComingMax, 4)
	p.ComingPerNodeMax = cmp.Or(p.ComingPerNodeMax, 2)
	p.LeadersMax = cmp.Or(p.LeadersMax, 4)
	return p
}

// The states of replicas and nodes, by shorter names.
const (
	first      = internalv1.ReplicaState_REPLICA_STATE_FIRST
	adding     = internalv1.ReplicaState_REPLICA_STATE_ADDING
	catchingUp = internalv1.ReplicaState_REPLICA_STATE_CATCHING_UP
	caughtUp   = internalv1.ReplicaState_REPLICA_STATE_CAUGHT_UP
	promoting  = internalv1.ReplicaState_REPLICA_STATE_PROMOTING
	voter      = internalv1.ReplicaState_REPLICA_STATE_VOTER
	removing   = internalv1.ReplicaState_REPLICA_STATE_REMOVING

	active  = internalv1.NodeState_NODE_STATE_ACTIVE
	removed = internalv1.NodeState_NODE_STATE_REMOVED
)

// board is a view with what follows from it, and from the steps planned so far.
type board struct {
	view   View
	policy Policy
	// wanted is how many voters a shard should have.
	wanted int
	nodes  map[string]*node
	sorted []*node // by id
	// coming counts the replicas that are added or catch up.
	coming int
	// growing tells that the system shard is getting a replica, or could.
	growing bool
	// restless tells that some shard has a change on its way.
	restless bool
}

// node is what the board knows of a node.
type node struct {
	Node
	// lost tells that its replicas are to be replaced.
	lost     bool
	replicas int // those that stay
	coming   int
	leads    int
}

func newBoard(v View, p Policy) *board {
	b := &board{view: v, policy: p.WithDefaults(), nodes: make(map[string]*node)}
	b.wanted = max(1, v.Replication-(v.Replication+1)%2)
	for _, n := range v.Nodes {
		known := &node{Node: n, lost: b.lost(n)}
		b.nodes[n.ID] = known
		b.sorted = append(b.sorted, known)
	}
	slices.SortFunc(b.sorted, func(a, b *node) int { return cmp.Compare(a.ID, b.ID) })
	for _, s := range v.Shards {
		for _, r := range s.Record.GetReplicas() {
			b.count(r)
		}
	}
	return b
}

// lost tells whether the replicas of a node are to be replaced.
func (b *board) lost(n Node) bool {
	deadFor := time.Duration(0)
	if ms := n.Record.GetDeadSinceMs(); ms != 0 && !n.Alive {
		deadFor = b.view.Now.Sub(time.UnixMilli(int64(ms)))
	}
	return n.Record.GetState() == removed || !n.Record.GetHosts() || deadFor >= b.policy.ReplaceAfter
}

// dead tells whether a node is noted as dead, and has not come back.
func (n *node) dead() bool { return !n.Alive && n.Record.GetDeadSinceMs() != 0 }

// node is what is known of a node; one without a record is lost.
func (b *board) node(id string) *node {
	if n, ok := b.nodes[id]; ok {
		return n
	}
	return &node{Node: Node{ID: id}, lost: true}
}

// count adds a replica to what its node has.
func (b *board) count(r *internalv1.ReplicaRecord) {
	n := b.node(r.GetNodeId())
	if r.GetState() != removing {
		n.replicas++
	}
	if r.GetState() == adding || r.GetState() == catchingUp {
		n.coming++
		b.coming++
	}
}

// name is what people call a node.
func (n *node) name() string { return cmp.Or(n.Record.GetName(), n.ID) }
