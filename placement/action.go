package placement

import (
	"slices"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
)

// verb is what an agent does with a replica.
type verb string

const (
	// What a replica's own node does (N in record.proto).
	verbStart   verb = "start"
	verbFirst   verb = "start as the first"
	verbVoter   verb = "note as running"
	verbCatchUp verb = "catch up"
	verbDrop    verb = "drop"
	// What the node does that leads the shard (L).
	verbAdd      verb = "add"
	verbPromote  verb = "promote"
	verbRemove   verb = "remove"
	verbTransfer verb = "transfer leadership to"
)

// action is one thing that an agent has to do for a shard; the zero action is
// none.
type action struct {
	verb    verb
	shard   shards.ShardID
	replica uint64
	node    string // of the replica
}

// local is this node's replica of a shard, if it runs one.
type local struct {
	replica uint64 // 0 for none
	leads   bool
	// fresh tells that it leads for so short a time that the one before may have
	// died without anybody knowing.
	fresh bool
}

// outlook is what an agent acts upon: who it is, and whom it holds for fit.
type outlook struct {
	self string
	// alive tells of a node whether it shows signs of life.
	alive func(node string) bool
}

// next is the next action for a shard, from its placement and what runs here.
func (o outlook) next(shard shards.ShardID, placed *internalv1.PlacementRecord, here local) action {
	if placed == nil {
		return action{} // nobody has said anything about the shard
	}
	act := o.ownReplica(placed, here)
	if act.verb == "" && here.leads {
		act = o.ledGroup(placed, here)
	}
	act.shard = shard
	return act
}

// ownReplica is what this node's replica needs.
func (o outlook) ownReplica(placed *internalv1.PlacementRecord, here local) action {
	own := slices.DeleteFunc(slices.Clone(placed.GetReplicas()), func(r *internalv1.ReplicaRecord) bool { return r.GetNodeId() != o.self })
	isHere := func(r *internalv1.ReplicaRecord) bool { return r.GetReplicaId() == here.replica }
	if here.replica != 0 && !slices.ContainsFunc(own, isHere) {
		return action{verb: verbDrop, replica: here.replica, node: o.self}
	}
	for _, r := range own {
		act := action{replica: r.GetReplicaId(), node: o.self}
		switch runs := isHere(r); r.GetState() {
		case internalv1.ReplicaState_REPLICA_STATE_FIRST:
			act.verb = verbFirst
			if runs {
				act.verb = verbVoter
			}
		case internalv1.ReplicaState_REPLICA_STATE_CATCHING_UP:
			act.verb = verbStart
			if runs {
				act.verb = verbCatchUp
			}
		case internalv1.ReplicaState_REPLICA_STATE_CAUGHT_UP,
			internalv1.ReplicaState_REPLICA_STATE_PROMOTING,
			internalv1.ReplicaState_REPLICA_STATE_VOTER:
			if !runs {
				act.verb = verbStart
			}
		default: // it waits for the group
		}
		if act.verb != "" {
			return act
		}
	}
	return action{}
}

// ledGroup is what the Raft group of a shard needs that this node leads. What
// goes does so first, so that what comes is not counted on meanwhile.
func (o outlook) ledGroup(placed *internalv1.PlacementRecord, here local) action {
	verbs := map[internalv1.ReplicaState]verb{
		internalv1.ReplicaState_REPLICA_STATE_REMOVING:  verbRemove,
		internalv1.ReplicaState_REPLICA_STATE_ADDING:    verbAdd,
		internalv1.ReplicaState_REPLICA_STATE_PROMOTING: verbPromote,
	}
	for _, state := range []internalv1.ReplicaState{
		internalv1.ReplicaState_REPLICA_STATE_REMOVING,
		internalv1.ReplicaState_REPLICA_STATE_ADDING,
		internalv1.ReplicaState_REPLICA_STATE_PROMOTING,
	} {
		for _, r := range placed.GetReplicas() {
			if r.GetState() != state {
				continue
			}
			if state == internalv1.ReplicaState_REPLICA_STATE_REMOVING && r.GetReplicaId() == here.replica {
				return o.handOver(placed, here) // a leader does not remove itself
			}
			if state == internalv1.ReplicaState_REPLICA_STATE_PROMOTING && !o.alive(r.GetNodeId()) {
				continue // it would count for the quorum and not help it
			}
			return action{verb: verbs[state], replica: r.GetReplicaId(), node: r.GetNodeId()}
		}
	}
	if here.fresh {
		return action{} // it may be the one that should lead that has just died
	}
	return o.wished(placed, here)
}

// wished hands leadership to the node that should have it.
func (o outlook) wished(placed *internalv1.PlacementRecord, here local) action {
	for _, r := range placed.GetReplicas() {
		if r.GetNodeId() == placed.GetLeaderNodeId() && o.mayLead(r, here) {
			return action{verb: verbTransfer, replica: r.GetReplicaId(), node: r.GetNodeId()}
		}
	}
	return action{}
}

// handOver hands leadership to the node that should have it, or else to any.
func (o outlook) handOver(placed *internalv1.PlacementRecord, here local) action {
	if act := o.wished(placed, here); act.verb != "" {
		return act
	}
	for _, r := range placed.GetReplicas() {
		if o.mayLead(r, here) {
			return action{verb: verbTransfer, replica: r.GetReplicaId(), node: r.GetNodeId()}
		}
	}
	return action{}
}

// mayLead tells whether leadership can be handed to a replica.
func (o outlook) mayLead(r *internalv1.ReplicaRecord, here local) bool {
	return r.GetState() == internalv1.ReplicaState_REPLICA_STATE_VOTER && r.GetReplicaId() != here.replica &&
		r.GetNodeId() != o.self && o.alive(r.GetNodeId())
}
