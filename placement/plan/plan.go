package plan

import (
	"fmt"
	"time"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// Plan returns what to do next, at most one step for each record. The same view
// gives the same steps.
func Plan(v View, p Policy) []Step {
	b := newBoard(v, p)
	steps := b.nodeSteps()
	steps = append(steps, b.levelSteps()...)
	changed := make(map[uint64]bool, len(v.Shards))
	for i, s := range v.Shards {
		step, ok := b.replicaStep(b.group(s), i == 0)
		if ok {
			steps = append(steps, step)
			changed[s.ID] = true
		}
	}
	if !b.restless {
		if step, ok := b.moveStep(); ok {
			steps = append(steps, step)
			changed[step.Shard] = true
		}
	}
	return append(steps, b.leaderSteps(changed)...)
}

// nodeSteps notes which nodes have died, and which are back.
func (b *board) nodeSteps() []Step {
	var steps []Step
	for _, n := range b.sorted {
		noted := n.Record.GetDeadSinceMs() != 0
		switch {
		case n.Record.GetState() == removed:
		case n.Alive && noted:
			steps = append(steps, Step{Kind: KindAlive, Node: n.ID, Name: n.name(), Reason: "it shows signs of life again"})
		case !n.Alive && !noted && b.view.Now.Sub(n.Since) >= b.policy.DeadAfter:
			steps = append(steps, Step{Kind: KindDead, Node: n.ID, Name: n.name(), Reason: "its lease has ended"})
		}
	}
	return steps
}

// levelSteps raises the feature level to what every node knows, dead ones
// included: they come back as they were. One that has been dead for so long that
// nothing of it is left does not count: it is refused if it comes back too old.
func (b *board) levelSteps() []Step {
	var least *node
	for _, n := range b.sorted {
		if n.Record.GetState() != removed && !b.forgotten(n) && (least == nil || n.Record.GetLevel() < least.Record.GetLevel()) {
			least = n
		}
	}
	if least == nil || least.Record.GetLevel() <= b.view.Level {
		return nil
	}
	return []Step{{
		Kind: KindLevel, Level: least.Record.GetLevel(),
		Reason: fmt.Sprintf("all nodes know it, and %s knows no higher one", least.name()),
	}}
}

// forgotten tells whether a node is dead for good, and its replicas replaced.
func (b *board) forgotten(n *node) bool {
	ms := n.Record.GetDeadSinceMs()
	return !n.Alive && ms != 0 && n.replicas == 0 && b.view.Now.Sub(time.UnixMilli(int64(ms))) >= b.policy.ReplaceAfter
}

// UnderReplicated counts the shards that have fewer voters on living nodes than
// they should have.
func UnderReplicated(v View) int {
	b := newBoard(v, Policy{})
	n := 0
	for _, s := range v.Shards {
		living := 0
		for _, r := range s.Record.GetReplicas() {
			if r.GetState() == internalv1.ReplicaState_REPLICA_STATE_VOTER && b.node(r.GetNodeId()).Alive {
				living++
			}
		}
		if living < b.wanted {
			n++
		}
	}
	return n
}
