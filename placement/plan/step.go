package plan

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// Kind is what a step does.
type Kind string

// The kinds of steps.
const (
	// KindAdd adds a replica, non-voting.
	KindAdd Kind = "add"
	// KindPromote makes a replica a voter.
	KindPromote Kind = "promote"
	// KindRemove removes a replica.
	KindRemove Kind = "remove"
	// KindLead says which node should lead a shard.
	KindLead Kind = "lead"
	// KindDead notes that a node shows no signs of life.
	KindDead Kind = "dead"
	// KindAlive notes that it does again.
	KindAlive Kind = "alive"
	// KindLevel raises the cluster's feature level.
	KindLevel Kind = "level"
)

// Kinds lists the kinds of steps.
func Kinds() []Kind {
	return []Kind{KindAdd, KindPromote, KindRemove, KindLead, KindDead, KindAlive, KindLevel}
}

// A Step is a change of one record: of the placement of Shard, of the node Node,
// or of the cluster.
type Step struct {
	Kind Kind
	// Shard and Replica say which replica it is about. They are 0 for steps on
	// nodes and the cluster; Replica also for KindLead.
	Shard, Replica uint64
	// Node is the id of the node that it is about.
	Node string
	// Name is what people call the node.
	Name string
	// Level is the new feature level of KindLevel.
	Level uint32
	// Reason says why, in words.
	Reason string
}

// String is the step with its reason, in words.
func (s Step) String() string {
	what := ""
	switch s.Kind {
	case KindAdd:
		what = fmt.Sprintf("add replica %d of shard %d on %s", s.Replica, s.Shard, s.Name)
	case KindPromote:
		what = fmt.Sprintf("make replica %d of shard %d on %s a voter", s.Replica, s.Shard, s.Name)
	case KindRemove:
		what = fmt.Sprintf("remove replica %d of shard %d on %s", s.Replica, s.Shard, s.Name)
	case KindLead:
		what = fmt.Sprintf("have %s lead shard %d", s.Name, s.Shard)
	case KindDead:
		what = fmt.Sprintf("note that %s is dead", s.Name)
	case KindAlive:
		what = fmt.Sprintf("note that %s is alive", s.Name)
	case KindLevel:
		what = fmt.Sprintf("raise the feature level to %d", s.Level)
	}
	return what + ": " + s.Reason
}

// Placement is a placement as the step leaves it. The step must be about a
// shard; the record is not changed.
func (s Step) Placement(record *internalv1.PlacementRecord) *internalv1.PlacementRecord {
	next := proto.CloneOf(record)
	set := func(state internalv1.ReplicaState) {
		i := slices.IndexFunc(next.GetReplicas(), func(r *internalv1.ReplicaRecord) bool { return r.GetReplicaId() == s.Replica })
		if i >= 0 {
			next.Replicas[i].State = state
		}
	}
	switch s.Kind {
	case KindAdd:
		next.Replicas = append(next.Replicas, &internalv1.ReplicaRecord{ReplicaId: s.Replica, NodeId: s.Node, State: adding})
		next.NextReplicaId = s.Replica + 1
	case KindPromote:
		set(promoting)
	case KindRemove:
		set(removing)
	case KindLead:
		next.LeaderNodeId = s.Node
	case KindDead, KindAlive, KindLevel:
	}
	return next
}
