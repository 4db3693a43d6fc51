package plan

import (
	"cmp"
	"fmt"
	"slices"
)

// candidate is the node for one more replica of a shard: in the zone that has the
// fewest of them, with the fewest replicas of any; nil if there is none.
func (b *board) candidate(g *group, system bool) *node {
	if !b.mayCome(system) {
		return nil
	}
	var best *node
	for _, n := range b.sorted {
		if !b.takes(n, g, system) {
			continue
		}
		if best == nil || cmp.Or(cmp.Compare(inZone(g, n), inZone(g, best)), cmp.Compare(n.replicas, best.replicas)) < 0 {
			best = n
		}
	}
	return best
}

// mayCome tells whether one more replica may be on its way.
func (b *board) mayCome(system bool) bool { return system || b.coming < b.policy.ComingMax }

// takes tells whether a node may have one more replica of a shard.
func (b *board) takes(n *node, g *group, system bool) bool {
	busy := !system && n.coming >= b.policy.ComingPerNodeMax
	return !n.lost && n.Alive && n.Record.GetState() == active && !busy &&
		!slices.ContainsFunc(g.members, func(m member) bool { return m.node.ID == n.ID }) // Q2
}

// inZone counts the replicas of a shard in a node's zone that stay.
func inZone(g *group, n *node) int {
	return len(g.where(notLost, func(m member) bool {
		return m.GetState() != removing && m.node.Record.GetZone() == n.Record.GetZone()
	}))
}

// leaving is the one of several replicas of a shard whose leaving leaves them
// best: one on a dead node, else from the zone that has the most of them, and the node that has the
// most of any. Of several one that does not lead, and the youngest.
func (g *group) leaving(list []member) member {
	follows := func(m member) int { return one(m.node.ID != g.record.GetLeaderNodeId()) }
	return slices.MaxFunc(list, func(x, y member) int {
		return cmp.Or(
			cmp.Compare(one(x.node.dead()), one(y.node.dead())),
			cmp.Compare(sharing(list, x.node), sharing(list, y.node)),
			cmp.Compare(x.node.replicas, y.node.replicas),
			cmp.Compare(follows(x), follows(y)),
			cmp.Compare(x.GetReplicaId(), y.GetReplicaId()),
		)
	})
}

// sharing counts the members in a node's zone.
func sharing(list []member, n *node) int {
	count := 0
	for _, m := range list {
		if m.node.Record.GetZone() == n.Record.GetZone() {
			count++
		}
	}
	return count
}

// moveStep adds a replica to a shard that has enough, on a node where it is better
// placed than another: shrink removes the worst placed one then. There is one move
// at a time, and none while anything else is on its way. Moves come to an end,
// because each makes the replicas of a shard better spread over zones, or the
// nodes' shares more even and the zones no worse; a difference of one replica
// moves nothing.
func (b *board) moveStep() (Step, bool) {
	for i, s := range b.view.Shards {
		g := b.group(s)
		voters := g.where(in(voter), notLost, alive)
		if len(voters) != b.wanted || len(g.members) != b.wanted || !b.mayCome(i == 0) {
			continue
		}
		var best move
		for _, n := range b.sorted {
			if !b.takes(n, g, i == 0) {
				continue
			}
			for _, m := range voters {
				best = best.orBetter(newMove(voters, m.node, n))
			}
		}
		if best.to != nil {
			return b.come(g, best.to, best.why()), true
		}
	}
	return Step{}, false
}

// move is one that is worth it, unless it is zero.
type move struct {
	from, to *node
	// zones is by how much the zone that a replica leaves has more of them than
	// the one that it comes to; shares the same of nodes.
	zones, shares int
}

func newMove(voters []member, from, to *node) move {
	m := move{from: from, to: to, shares: from.replicas - to.replicas}
	if from.Record.GetZone() != to.Record.GetZone() {
		m.zones = sharing(voters, from) - sharing(voters, to)
	} else {
		m.zones = 1 // as many as before, as between zones that differ by one
	}
	if m.zones > 1 || m.zones == 1 && m.shares > 1 {
		return m
	}
	return move{}
}

// orBetter is the better of two moves, the first if they are as good.
func (m move) orBetter(other move) move {
	if other.to == nil || m.to != nil && cmp.Or(cmp.Compare(m.zones, other.zones), cmp.Compare(m.shares, other.shares)) >= 0 {
		return m
	}
	return other
}

func (m move) why() string {
	if m.zones > 1 {
		return fmt.Sprintf("zone %q has more of the shard's replicas", m.from.Record.GetZone())
	}
	return fmt.Sprintf("%s has %d replicas, and this node %d", m.from.name(), m.from.replicas, m.to.replicas)
}
