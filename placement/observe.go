package placement

import (
	"cmp"
	"slices"
	"time"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/placement/plan"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// sightings are what one loop has seen of the nodes in one term.
type sightings struct {
	term  uint64
	nodes map[string]*sighting // nil before the first look
}

type sighting struct {
	// seen is when the node's sign of life was last there, or when the node was
	// first heard of.
	seen time.Time
	// aliveSince is since when it was not noted as dead.
	aliveSince time.Time
}

// view is what the records and what was seen before come to.
func (s *sightings) view(records *catalog.Records, now time.Time) plan.View {
	d := records.Directory
	v := plan.View{Now: now, Replication: replicationOf(d.GetCluster()), Level: d.GetCluster().GetLevel()}
	first := s.nodes == nil
	if first {
		s.nodes = make(map[string]*sighting)
	}
	for id, node := range d.GetNodes() {
		_, shown := records.Live[id]
		if s.nodes[id] == nil {
			s.nodes[id] = newSighting(node, first, now)
		}
		alive, since := s.nodes[id].look(node, shown, now)
		v.Nodes = append(v.Nodes, plan.Node{ID: id, Record: node, Alive: alive, Since: since})
	}
	for id, placed := range d.GetPlacements() {
		v.Shards = append(v.Shards, plan.Shard{ID: id, Record: placed})
	}
	// The system shard has the least number.
	slices.SortFunc(v.Shards, func(a, b plan.Shard) int { return cmp.Compare(a.ID, b.ID) })
	return v
}

// newSighting is of a node that this loop has not heard of before. Of those that
// it finds at its first look it believes the loop before: who is not noted as dead
// has been alive, nobody knows how long.
func newSighting(node *internalv1.NodeRecord, first bool, now time.Time) *sighting {
	s := &sighting{seen: now, aliveSince: now}
	if first && node.GetDeadSinceMs() == 0 {
		s.aliveSince = time.UnixMilli(int64(node.GetJoinTimeMs()))
	}
	return s
}

// look notes whether a node shows its sign of life, and tells since when it does, or
// does not.
func (s *sighting) look(node *internalv1.NodeRecord, shown bool, now time.Time) (alive bool, since time.Time) {
	dead := node.GetDeadSinceMs() != 0
	switch {
	case dead && node.GetState() == internalv1.NodeState_NODE_STATE_REMOVED:
		return false, s.seen // another has taken its place
	case !shown:
		return false, s.seen
	case dead: // it is back
		s.aliveSince = now
	}
	s.seen = now
	return true, s.aliveSince
}
