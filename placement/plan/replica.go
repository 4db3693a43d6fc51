package plan

import (
	"fmt"
)

// replicaStep is the next change of a shard's replicas. The system shard comes
// first.
func (b *board) replicaStep(g *group, system bool) (Step, bool) {
	step, ok := b.nextOf(g, system)
	if ok || g.changing() {
		b.restless = true
	}
	if system {
		b.growing = ok && step.Kind != KindRemove || len(g.where(in(adding, catchingUp, promoting), alive)) > 0
	}
	return step, ok
}

func (b *board) nextOf(g *group, system bool) (Step, bool) {
	if g.changing() { // Q3
		return b.giveUp(g, system)
	}
	if !g.quorate() { // Q1
		return Step{}, false
	}
	for _, rule := range []func(*group) (Step, bool){
		b.dropLost, b.makeOdd, b.replaceVoter, b.grow, b.shrink,
		func(g *group) (Step, bool) { return b.add(g, system) },
	} {
		if step, ok := rule(g); ok {
			return step, true
		}
	}
	return Step{}, false
}

// giveUp removes a replica that is on its way to a node from which nothing is to
// be expected. Whether one that was to be promoted counts for the quorum by now is
// not known. If it does, and the quorum is gone with it, the group will not remove
// it; if it does not, this is the only way on.
func (b *board) giveUp(g *group, system bool) (Step, bool) {
	if len(g.where(in(removing))) > 0 || !g.quorate() {
		return Step{}, false
	}
	for _, m := range g.where(in(adding, catchingUp, promoting)) {
		switch {
		case m.node.lost:
			return b.remove(g, m, whyLost(m.node)), true
		case m.GetState() != promoting && m.node.dead() && b.candidate(g, system) != nil:
			return b.remove(g, m, "its node died before it caught up, and another node can take it"), true
		}
	}
	return Step{}, false
}

// dropLost removes replicas of lost nodes that are not needed, or only in the
// way: an even number of voters survives no more failures than one less. One that
// still works goes only while all others do, too.
func (b *board) dropLost(g *group) (Step, bool) {
	if list := g.where(in(caughtUp), lost); len(list) > 0 {
		return b.remove(g, list[0], whyLost(list[0].node)), true
	}
	voters := g.where(in(voter))
	if len(voters)%2 == 1 && len(g.where(in(voter), notLost)) < b.wanted {
		return Step{}, false
	}
	gone := deadFirst(g.where(in(voter), lost))
	if len(gone) == 0 || gone[0].node.Alive && !g.complete() {
		return Step{}, false
	}
	return b.remove(g, gone[0], whyLost(gone[0].node)), true
}

// makeOdd promotes a replica if the number of voters is even: both halves of a
// pair of steps are done without a pause.
func (b *board) makeOdd(g *group) (Step, bool) {
	ready := g.where(in(caughtUp), alive)
	if len(g.where(in(voter)))%2 == 1 || len(g.where(in(voter), notLost)) >= b.wanted || len(ready) == 0 {
		return Step{}, false
	}
	return b.promote(g, ready[0], "an even number of voters survives no more failures than one less")
}

// replaceVoter takes the first half of replacing a lost voter by one that has
// caught up. The other half is dropLost or makeOdd.
func (b *board) replaceVoter(g *group) (Step, bool) {
	ready := g.where(in(caughtUp), alive)
	gone := deadFirst(g.where(in(voter), lost))
	if len(ready) == 0 || len(gone) == 0 {
		return Step{}, false
	}
	if gone[0].node.Alive {
		return b.promote(g, ready[0], fmt.Sprintf("it is to replace the one on %s, which still helps until then", gone[0].node.name()))
	}
	// Without a dead voter the living are a quorum if they are one with it.
	return b.remove(g, gone[0], fmt.Sprintf("%s, and its replacement on %s has caught up", whyLost(gone[0].node), ready[0].node.name())), true
}

// grow takes the first half of having two voters more.
func (b *board) grow(g *group) (Step, bool) {
	ready := g.where(in(caughtUp), alive)
	voters := len(g.where(in(voter)))
	if len(ready) < 2 || voters+2 > b.wanted {
		return Step{}, false
	}
	return b.promote(g, ready[0], fmt.Sprintf("the shard has %d of %d voters, and two more have caught up", voters, b.wanted))
}

// shrink removes what is too much: of a shard that has enough voters without it,
// the replica whose leaving leaves the others best. A voter that works goes only
// while all others do, too.
func (b *board) shrink(g *group) (Step, bool) {
	voters, ready := g.where(in(voter), notLost), g.where(in(caughtUp), notLost)
	if len(voters)+len(ready) <= b.wanted || len(voters) < b.wanted {
		return Step{}, false
	}
	m := g.leaving(append(ready, voters...))
	if len(voters) > b.wanted {
		m = g.leaving(voters)
	}
	ready = g.where(in(caughtUp), alive)
	switch {
	case m.GetState() == caughtUp:
		return b.remove(g, m, "the shard has replicas enough"), true
	case m.node.dead() && (len(voters) > b.wanted || len(ready) > 0):
		return b.remove(g, m, "its node is dead, and the shard has others enough"), true
	case !g.complete():
		return Step{}, false
	case len(voters) > b.wanted:
		return b.remove(g, m, "the shard has voters enough without it"), true
	case len(ready) == 0:
		return Step{}, false
	}
	return b.promote(g, ready[0], fmt.Sprintf("it is to replace the one on %s, which has more to bear", m.node.name()))
}

// add adds a replica to a shard that has too few.
func (b *board) add(g *group, system bool) (Step, bool) {
	have := len(g.where(in(voter, caughtUp), notLost))
	if have >= b.wanted || b.growing && !system {
		return Step{}, false
	}
	n := b.candidate(g, system)
	if n == nil {
		return Step{}, false
	}
	return b.come(g, n, fmt.Sprintf("the shard has %d of %d replicas", have, b.wanted)), true
}

// deadFirst puts the members on dead nodes first.
func deadFirst(list []member) []member {
	var dead, living []member
	for _, m := range list {
		if m.node.Alive {
			living = append(living, m)
		} else {
			dead = append(dead, m)
		}
	}
	return append(dead, living...)
}

func whyLost(n *node) string {
	switch {
	case n.Record == nil:
		return "its node is not known"
	case n.Record.GetState() == removed:
		return "its node was removed"
	case !n.Record.GetHosts():
		return "its node hosts no replicas any more"
	default:
		return "its node has been dead for too long"
	}
}

func (b *board) promote(g *group, m member, why string) (Step, bool) {
	if !g.quorateWith(m) { // Q1
		return Step{}, false
	}
	return Step{Kind: KindPromote, Shard: g.shard, Replica: m.GetReplicaId(), Node: m.node.ID, Name: m.node.name(), Reason: why}, true
}

func (b *board) remove(g *group, m member, why string) Step {
	m.node.replicas--
	return Step{Kind: KindRemove, Shard: g.shard, Replica: m.GetReplicaId(), Node: m.node.ID, Name: m.node.name(), Reason: why}
}

// come puts a new replica on a node.
func (b *board) come(g *group, n *node, why string) Step {
	n.replicas++
	n.coming++
	b.coming++
	if n.Record.GetZone() != "" {
		why += fmt.Sprintf("; %s is in zone %s", n.name(), n.Record.GetZone())
	}
	return Step{Kind: KindAdd, Shard: g.shard, Replica: g.record.GetNextReplicaId(), Node: n.ID, Name: n.name(), Reason: why}
}
