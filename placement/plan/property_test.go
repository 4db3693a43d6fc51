package plan_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/flotillakv/flotilla/placement/plan"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// Whatever happens to nodes, in whatever order the parts of placement come to do
// their work, no step breaks Q1 to Q3 or the bounds of the policy. And when nothing
// happens any more, every shard comes to have what it should, and rests.
func TestPlanUnderRandomEvents(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		events := []func(){
			func() { m.loop() }, func() { m.loop() }, func() { m.agents() }, func() { m.agents() },
			func() {
				m.now = m.now.Add(time.Duration(rapid.IntRange(1, 200).Draw(t, "seconds")) * time.Second)
			},
			func() {
				if len(m.nodes) < 12 {
					m.join("")
				}
			},
			m.die, m.comeBack, m.remove, m.replace, m.drain, m.loseLog, m.addShard,
		}
		for range rapid.IntRange(0, 150).Draw(t, "events") {
			rapid.SampledFrom(events).Draw(t, "event")()
		}
		m.converge()
	})
}

func (m *model) die() {
	if n := m.pick("dies", func(n *modelNode) bool { return n.alive }); n != nil {
		n.alive, n.since = false, m.now
	}
}

func (m *model) comeBack() {
	if n := m.pick("is back", func(n *modelNode) bool { return !n.alive && !n.gone }); n != nil {
		n.alive, n.since = true, m.now
	}
}

// remove takes a node out for good that goes on running.
func (m *model) remove() {
	if n := m.pick("is removed", func(n *modelNode) bool { return n.record.GetState() != removed }); n != nil {
		n.record.State = removed
	}
}

// replace has a node come with an empty disk, in the place of one.
func (m *model) replace() {
	old := m.pick("is wiped", func(n *modelNode) bool { return !n.gone && m.mayVanish(n) })
	if old == nil || len(m.nodes) >= 16 {
		return
	}
	old.alive, old.gone, old.record.State = false, true, removed
	m.join(old.record.GetName())
}

func (m *model) drain() {
	n := m.pick("drains", func(n *modelNode) bool { return n.record.GetState() != removed })
	if n != nil {
		n.record.State = rapid.SampledFrom([]internalv1.NodeState{active, draining}).Draw(m.t, "state")
	}
}

// loseLog has a node find that a voter's log is gone.
func (m *model) loseLog() {
	id := rapid.SampledFrom(slices.Sorted(maps.Keys(m.shards))).Draw(m.t, "shard")
	s := m.shards[id]
	r := rapid.SampledFrom(s.record.GetReplicas()).Draw(m.t, "replica")
	if r.GetState() == voter && m.repairable(s, func(other *internalv1.ReplicaRecord) bool { return other == r }) {
		r.State = removing
	}
}

// addShard adds a shard, whose first replica is to be started.
func (m *model) addShard() {
	id := uint64(len(m.shards)) + 1
	if n := m.pickID("hosts", func(n *modelNode) bool { return n.alive && n.record.GetState() == active }); n != "" && id <= 8 {
		m.shards[id] = &modelShard{record: &internalv1.PlacementRecord{
			Replicas:      []*internalv1.ReplicaRecord{{ReplicaId: 1, NodeId: n, State: first}},
			NextReplicaId: 2,
		}, members: map[uint64]bool{1: true}, given: 1}
	}
}

// agents does some of the work that is there.
func (m *model) agents() bool {
	worked := false
	for _, id := range slices.Sorted(maps.Keys(m.shards)) {
		if rapid.Bool().Draw(m.t, "works") && m.work(m.shards[id]) {
			worked = true
		}
	}
	return worked
}

// loop plans and checks every step before it takes it.
func (m *model) loop() []plan.Step {
	v := m.view()
	steps := plan.Plan(v, m.policy)
	slices.Reverse(v.Nodes)
	require.Equal(m.t, steps, plan.Plan(v, m.policy), "the order of nodes does not matter")
	about := map[any]bool{}
	for _, s := range steps {
		var record any = s.Shard
		if s.Shard == 0 {
			record = s.Node
		}
		require.False(m.t, about[record], "two steps on one record: %v", steps)
		about[record] = true
		require.NotEmpty(m.t, s.Reason)
		m.check(s)
		m.take(s)
	}
	m.checkBounds()
	return steps
}

// check holds a step against the rules.
func (m *model) check(s plan.Step) {
	n := m.nodes[s.Node]
	shard := m.shards[s.Shard]
	switch s.Kind {
	case plan.KindAdd:
		require.Greater(m.t, s.Replica, shard.given, "%s", s)
		shard.given = s.Replica
		require.True(m.t, n.alive && n.record.GetState() == active, "%s", s)
		for _, r := range shard.record.GetReplicas() {
			require.NotEqual(m.t, s.Node, r.GetNodeId(), "%s", s)
		}
	case plan.KindPromote, plan.KindRemove:
		voters, living := 0, 0
		for _, r := range shard.record.GetReplicas() {
			votes := r.GetState() == voter || r.GetState() == promoting || r.GetState() == removing && shard.members[r.GetReplicaId()]
			if r.GetReplicaId() == s.Replica {
				votes = s.Kind == plan.KindPromote
			}
			if votes {
				voters++
				if m.nodes[r.GetNodeId()].alive {
					living++
				}
			}
		}
		require.Greater(m.t, living, voters/2, "Q1: %s", s)
	case plan.KindLead:
		require.True(m.t, n.alive && n.record.GetState() == active, "%s", s)
	case plan.KindLevel:
		require.Greater(m.t, s.Level, m.level)
	case plan.KindDead, plan.KindAlive:
	}
}

// checkBounds looks at all records.
func (m *model) checkBounds() {
	coming, comingTo := 0, map[string]int{}
	for id, s := range m.shards {
		changing := 0
		for _, r := range s.record.GetReplicas() {
			switch r.GetState() {
			case adding, catchingUp:
				changing++
				if id != 1 {
					coming++
					comingTo[r.GetNodeId()]++
				}
			case first, promoting:
				changing++
			default: // a lost log removes a replica whatever else goes on
			}
		}
		require.LessOrEqual(m.t, changing, 1, "Q3: shard %d: %v", id, s.record)
	}
	require.LessOrEqual(m.t, coming, m.policy.ComingMax)
	for node, n := range comingTo {
		require.LessOrEqual(m.t, n, m.policy.ComingPerNodeMax, node)
	}
}

// converge lets all that can come back do so, and nodes join until there are
// enough. Then it must come to rest, with all that is wanted.
func (m *model) converge() {
	usable := 0
	for _, id := range m.ids() {
		n := m.nodes[id]
		if !n.gone {
			n.alive = true
		}
		if n.record.GetState() == draining {
			n.record.State = active
		}
		if n.alive && n.record.GetState() == active {
			usable++
		}
	}
	for ; usable < m.wanted; usable++ {
		m.join("")
	}
	rest := 0
	for rounds := 0; rest < 3; rounds++ {
		require.Less(m.t, rounds, 1000, "it does not come to rest: %v", m.shards)
		rest++
		if len(m.loop()) > 0 {
			rest = 0
		}
		for _, s := range m.shards {
			for m.work(s) {
				rest = 0
			}
		}
		m.now = m.now.Add(15 * time.Second)
	}
	m.checkRest()
}

func (m *model) checkRest() {
	leads, replicas := map[string]int{}, map[string]int{}
	for id, s := range m.shards {
		require.Len(m.t, s.record.GetReplicas(), m.wanted, "shard %d", id)
		require.Len(m.t, s.members, m.wanted, "shard %d", id)
		zones := map[string]int{}
		for _, r := range s.record.GetReplicas() {
			n := m.nodes[r.GetNodeId()]
			require.Equal(m.t, voter, r.GetState())
			require.True(m.t, s.members[r.GetReplicaId()])
			require.True(m.t, n.alive && n.record.GetState() == active)
			zones[n.record.GetZone()]++
			replicas[r.GetNodeId()]++
		}
		if m.wanted > 1 {
			leads[s.record.GetLeaderNodeId()]++
		}
		m.checkZones(zones)
	}
	require.Zero(m.t, leads[""])
	if len(leads) > 0 && len(m.shards) >= 2 {
		for _, s := range m.shards {
			least := len(m.shards)
			for _, r := range s.record.GetReplicas() {
				least = min(least, leads[r.GetNodeId()])
			}
			require.LessOrEqual(m.t, leads[s.record.GetLeaderNodeId()]-least, 1, "leaders: %v", leads)
		}
	}
	require.Empty(m.t, plan.UnderReplicated(m.view()))
}

// checkZones tells whether replicas are as well spread over zones as the nodes
// allow: none could go to a zone that has two fewer.
func (m *model) checkZones(have map[string]int) {
	room := map[string]int{}
	for _, n := range m.nodes {
		if n.alive && n.record.GetState() == active {
			room[n.record.GetZone()]++
		}
	}
	for zone, n := range room {
		for other := range have {
			if have[zone] < n {
				require.LessOrEqual(m.t, have[other]-have[zone], 1, "zones: %v of %v", have, room)
			}
		}
	}
}
