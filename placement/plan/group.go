package plan

import (
	"cmp"
	"slices"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// group is the replicas of one shard.
type group struct {
	shard   uint64
	record  *internalv1.PlacementRecord
	members []member // by replica id
}

// member is one replica, with its node.
type member struct {
	*internalv1.ReplicaRecord
	node *node
}

func (b *board) group(s Shard) *group {
	g := &group{shard: s.ID, record: s.Record}
	for _, r := range s.Record.GetReplicas() {
		g.members = append(g.members, member{r, b.node(r.GetNodeId())})
	}
	slices.SortFunc(g.members, func(a, b member) int { return cmp.Compare(a.GetReplicaId(), b.GetReplicaId()) })
	return g
}

// where returns the members that satisfy all conditions.
func (g *group) where(conditions ...func(member) bool) []member {
	return slices.DeleteFunc(slices.Clone(g.members), func(m member) bool {
		return slices.ContainsFunc(conditions, func(holds func(member) bool) bool { return !holds(m) })
	})
}

func in(states ...internalv1.ReplicaState) func(member) bool {
	return func(m member) bool { return slices.Contains(states, m.GetState()) }
}

func alive(m member) bool   { return m.node.Alive }
func lost(m member) bool    { return m.node.lost }
func notLost(m member) bool { return !m.node.lost }

// changing tells whether a change is on its way (Q3).
func (g *group) changing() bool {
	return slices.ContainsFunc(g.members, in(first, adding, catchingUp, promoting, removing))
}

// quorate tells whether the voters that are alive are a quorum.
func (g *group) quorate() bool {
	return isQuorum(len(g.where(in(voter), alive)), len(g.where(in(voter))))
}

// quorateWith tells the same of the group with one more voter.
func (g *group) quorateWith(m member) bool {
	return isQuorum(len(g.where(in(voter), alive))+one(m.node.Alive), len(g.where(in(voter)))+1)
}

// complete tells whether all voters are alive. Then one can go: those that stay are
// a quorum without it. So they are without a dead one, if they are with it.
func (g *group) complete() bool {
	return len(g.where(in(voter), alive)) == len(g.where(in(voter)))
}

// isQuorum tells whether some of all voters are more than half.
func isQuorum(some, all int) bool { return all > 0 && some > all/2 }

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}
