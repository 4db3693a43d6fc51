package plan_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/flotillakv/flotilla/placement/plan"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

const (
	first      = internalv1.ReplicaState_REPLICA_STATE_FIRST
	adding     = internalv1.ReplicaState_REPLICA_STATE_ADDING
	catchingUp = internalv1.ReplicaState_REPLICA_STATE_CATCHING_UP
	caughtUp   = internalv1.ReplicaState_REPLICA_STATE_CAUGHT_UP
	promoting  = internalv1.ReplicaState_REPLICA_STATE_PROMOTING
	voter      = internalv1.ReplicaState_REPLICA_STATE_VOTER
	removing   = internalv1.ReplicaState_REPLICA_STATE_REMOVING

	active   = internalv1.NodeState_NODE_STATE_ACTIVE
	draining = internalv1.NodeState_NODE_STATE_DRAINING
	removed  = internalv1.NodeState_NODE_STATE_REMOVED
)

// model is a cluster as placement knows it, with what is really there: the Raft
// groups, and which nodes can ever come back.
type model struct {
	t      *rapid.T
	now    time.Time
	policy plan.Policy
	wanted int
	level  uint32
	nodes  map[string]*modelNode
	joined int
	shards map[uint64]*modelShard
}

type modelNode struct {
	record *internalv1.NodeRecord
	alive  bool
	since  time.Time
	gone   bool // its disk is: it never comes back
}

type modelShard struct {
	record  *internalv1.PlacementRecord
	members map[uint64]bool // the Raft group: replica id to whether it votes
	given   uint64          // the highest replica id so far
}

func newModel(t *rapid.T) *model {
	m := &model{
		t: t, now: time.Unix(1_000_000, 0), wanted: rapid.SampledFrom([]int{3, 3, 3, 5, 1}).Draw(t, "replication"),
		policy: plan.Policy{}.WithDefaults(), nodes: map[string]*modelNode{}, shards: map[uint64]*modelShard{},
	}
	m.join("")
	for id := range uint64(rapid.IntRange(1, 6).Draw(t, "shards")) {
		m.shards[id+1] = &modelShard{
			record: &internalv1.PlacementRecord{
				Replicas:      []*internalv1.ReplicaRecord{{ReplicaId: 1, NodeId: "node-01", State: voter}},
				NextReplicaId: 2,
			},
			members: map[uint64]bool{1: true}, given: 1,
		}
	}
	return m
}

// join adds a node, under a name of its own or another's.
func (m *model) join(name string) {
	m.joined++
	id := fmt.Sprintf("node-%02d", m.joined)
	if name == "" {
		name = id
	}
	m.nodes[id] = &modelNode{
		record: &internalv1.NodeRecord{
			Name: name, Zone: fmt.Sprintf("z%d", rapid.IntRange(0, 3).Draw(m.t, "zone")), Hosts: true,
			Level: uint32(rapid.IntRange(int(m.level), 3).Draw(m.t, "level")), State: active,
		},
		alive: true, since: m.now,
	}
}

func (m *model) ids() []string { return slices.Sorted(maps.Keys(m.nodes)) }

// pick draws one of the nodes that satisfy a condition; nil if none does.
func (m *model) pick(what string, fits func(*modelNode) bool) *modelNode {
	return m.nodes[m.pickID(what, fits)]
}

func (m *model) pickID(what string, fits func(*modelNode) bool) string {
	ids := slices.DeleteFunc(m.ids(), func(id string) bool { return !fits(m.nodes[id]) })
	if len(ids) == 0 {
		return ""
	}
	return rapid.SampledFrom(ids).Draw(m.t, what)
}

// mayVanish tells whether each group has a quorum that can come back once a node
// never does: what placement cannot repair is not asked of it.
func (m *model) mayVanish(n *modelNode) bool {
	for _, s := range m.shards {
		if !m.repairable(s, func(r *internalv1.ReplicaRecord) bool { return m.nodes[r.GetNodeId()] == n }) {
			return false
		}
	}
	return true
}

// repairable tells whether a group has a quorum that can come back without some of
// its replicas.
func (m *model) repairable(s *modelShard, without func(*internalv1.ReplicaRecord) bool) bool {
	voters, back := 0, 0
	for _, r := range s.record.GetReplicas() {
		if !s.members[r.GetReplicaId()] {
			continue
		}
		voters++
		if !without(r) && !m.nodes[r.GetNodeId()].gone && r.GetState() != removing {
			back++
		}
	}
	return back > voters/2
}

// view is what the loop sees.
func (m *model) view() plan.View {
	v := plan.View{Now: m.now, Replication: m.wanted, Level: m.level}
	for _, id := range m.ids() {
		n := m.nodes[id]
		v.Nodes = append(v.Nodes, plan.Node{ID: id, Record: n.record, Alive: n.alive, Since: n.since})
	}
	for _, id := range slices.Sorted(maps.Keys(m.shards)) {
		v.Shards = append(v.Shards, plan.Shard{ID: id, Record: m.shards[id].record})
	}
	return v
}

// take writes a step down.
func (m *model) take(s plan.Step) {
	switch s.Kind {
	case plan.KindDead:
		m.nodes[s.Node].record.DeadSinceMs = uint64(m.now.UnixMilli())
	case plan.KindAlive:
		m.nodes[s.Node].record.DeadSinceMs = 0
	case plan.KindLevel:
		m.level = s.Level
	case plan.KindAdd, plan.KindPromote, plan.KindRemove, plan.KindLead:
		m.shards[s.Shard].record = s.Placement(m.shards[s.Shard].record)
	}
}

// quorate tells whether a shard's Raft group can change.
func (m *model) quorate(s *modelShard) bool {
	voters, living := 0, 0
	for _, r := range s.record.GetReplicas() {
		if s.members[r.GetReplicaId()] {
			voters++
			if m.nodes[r.GetNodeId()].alive {
				living++
			}
		}
	}
	return living > voters/2
}

// work has the agents do what they have to do for a shard; true if they did
// anything.
func (m *model) work(s *modelShard) bool {
	if !m.quorate(s) {
		return false
	}
	for i, r := range s.record.GetReplicas() {
		living := m.nodes[r.GetNodeId()].alive
		switch r.GetState() {
		case removing:
			delete(s.members, r.GetReplicaId())
			s.record.Replicas = slices.Delete(s.record.Replicas, i, i+1)
		case adding:
			s.members[r.GetReplicaId()] = false
			r.State = catchingUp
		case promoting:
			if !living {
				continue
			}
			s.members[r.GetReplicaId()] = true
			r.State = voter
		case catchingUp:
			if !living {
				continue
			}
			r.State = caughtUp
		case first:
			if !living {
				continue
			}
			s.members[r.GetReplicaId()] = true
			r.State = voter
		default:
			continue
		}
		return true
	}
	return false
}
