package plan

import (
	"fmt"
)

// leaderSteps chooses who leads the shards of more than one voter: each node about
// as many. A leader is changed only if it cannot lead any more, or has two more
// than another node could have, so that leaders do not go back and forth. Shards
// that have another step wait for their turn.
func (b *board) leaderSteps(changed map[uint64]bool) []Step {
	for _, s := range b.view.Shards {
		if m, ok := leaderOf(b.group(s)); ok {
			m.node.leads++
		}
	}
	var steps []Step
	for _, s := range b.view.Shards {
		if len(steps) == b.policy.LeadersMax {
			break
		}
		if changed[s.ID] {
			continue
		}
		if step, ok := b.leaderStep(b.group(s)); ok {
			steps = append(steps, step)
		}
	}
	return steps
}

// leaderOf is the voter that should lead a shard, as far as that is decided.
func leaderOf(g *group) (member, bool) {
	voters := g.where(in(voter, first))
	if len(voters) == 1 {
		return voters[0], true
	}
	for _, m := range voters {
		if m.node.ID == g.record.GetLeaderNodeId() {
			return m, true
		}
	}
	return member{}, false
}

func (b *board) leaderStep(g *group) (Step, bool) {
	if len(g.where(in(voter))) < 2 {
		return Step{}, false
	}
	best, ok := b.bestLeader(g)
	if !ok {
		return Step{}, false
	}
	present, decided := leaderOf(g)
	var why string
	switch {
	case !decided:
		why = "nobody is chosen"
	case !mayLead(present):
		why = fmt.Sprintf("%s is about to stop, or gone", present.node.name())
	case present.node.leads-best.node.leads > 1:
		why = fmt.Sprintf("%s leads %d shards, and this node %d", present.node.name(), present.node.leads, best.node.leads)
	default:
		return Step{}, false
	}
	if decided {
		present.node.leads--
	}
	best.node.leads++
	return Step{Kind: KindLead, Shard: g.shard, Node: best.node.ID, Name: best.node.name(), Reason: why}, true
}

// mayLead tells whether a replica's node is fit to lead. A sign of life that is
// missing for a moment does not change that.
func mayLead(m member) bool {
	return !m.node.dead() && !m.node.lost && m.node.Record.GetState() == active
}

// bestLeader is the voter whose node leads the fewest shards, among those that
// have been alive for a while.
func (b *board) bestLeader(g *group) (best member, ok bool) {
	for _, m := range g.where(in(voter), mayLead, alive) {
		settled := b.view.Now.Sub(m.node.Since) >= b.policy.LeadAfter
		if settled && (!ok || m.node.leads < best.node.leads) {
			best, ok = m, true
		}
	}
	return best, ok
}
