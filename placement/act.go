package placement

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
)

// serve does what a shard needs next, and tells whether there was anything.
func (a *Agent) serve(ctx context.Context, id shards.ShardID) (acted bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	placed, err := a.placements.Placement(ctx, id) // A1
	if err != nil {
		return false, err
	}
	here := a.status(id)
	act := a.outlook().next(id, placed, a.locally(here))
	switch act.verb {
	case "":
		acted, err = a.forget(ctx, id, placed)
	case verbTransfer:
		acted, err = a.transfer(ctx, act)
	default:
		acted, err = true, a.do(ctx, act, placed)
	}
	if err != nil {
		return false, fmt.Errorf("shard %d: %s replica %d: %w", id, act.verb, act.replica, err)
	}
	if !acted && a.comparable(id, here) {
		return true, a.compare(ctx, id, here)
	}
	return acted, nil
}

// status is this node's replica of a shard.
func (a *Agent) status(id shards.ShardID) shards.ReplicaStatus {
	for _, r := range a.host.Replicas() {
		if r.Shard == id {
			return r
		}
	}
	return shards.ReplicaStatus{}
}

// do takes one action, and notes it in the record.
func (a *Agent) do(ctx context.Context, act action, placed *internalv1.PlacementRecord) error {
	switch act.verb {
	case verbStart, verbFirst:
		return a.start(ctx, act, placed)
	case verbVoter:
		return a.note(ctx, act, internalv1.ReplicaState_REPLICA_STATE_FIRST, internalv1.ReplicaState_REPLICA_STATE_VOTER)
	case verbCatchUp:
		if err := a.host.Current(ctx, act.shard); err != nil {
			return err
		}
		return a.note(ctx, act, internalv1.ReplicaState_REPLICA_STATE_CATCHING_UP, internalv1.ReplicaState_REPLICA_STATE_CAUGHT_UP)
	case verbDrop:
		a.log.Info("replica is dropped", "shard_id", uint64(act.shard), "replica_id", act.replica)
		return a.host.DropReplica(ctx, act.shard, act.replica)
	case verbAdd:
		if err := a.host.AddNonVoting(ctx, act.shard, act.replica, act.node); err != nil {
			return err
		}
		return a.note(ctx, act, internalv1.ReplicaState_REPLICA_STATE_ADDING, internalv1.ReplicaState_REPLICA_STATE_CATCHING_UP)
	case verbPromote:
		if err := a.host.Promote(ctx, act.shard, act.replica, act.node); err != nil {
			return err
		}
		return a.note(ctx, act, internalv1.ReplicaState_REPLICA_STATE_PROMOTING, internalv1.ReplicaState_REPLICA_STATE_VOTER)
	case verbRemove:
		if err := a.host.RemoveReplica(ctx, act.shard, act.replica); err != nil {
			return err
		}
		return a.strike(ctx, act)
	default:
		return fmt.Errorf("%q is no action", act.verb)
	}
}

// start starts a replica. One whose log is gone has promised what it does not
// know any more: it is replaced, unless it is the only one there is.
func (a *Agent) start(ctx context.Context, act action, placed *internalv1.PlacementRecord) error {
	err := a.host.StartReplica(shards.ReplicaSpec{Shard: act.shard, Replica: act.replica, First: act.verb == verbFirst})
	if !errors.As(err, new(*shards.LogMissingError)) {
		return err
	}
	voters := slices.DeleteFunc(slices.Clone(placed.GetReplicas()), func(r *internalv1.ReplicaRecord) bool {
		return r.GetState() != internalv1.ReplicaState_REPLICA_STATE_VOTER || r.GetReplicaId() == act.replica
	})
	if len(voters) == 0 {
		return err // nothing can take its place
	}
	a.log.Error("replica has lost its log and is replaced", "shard_id", uint64(act.shard), "replica_id", act.replica)
	a.mu.Lock()
	a.work(act.shard).lost = act.replica
	a.mu.Unlock()
	return a.edit(ctx, act, func(r *internalv1.ReplicaRecord) bool {
		changed := r.GetState() != internalv1.ReplicaState_REPLICA_STATE_REMOVING
		r.State = internalv1.ReplicaState_REPLICA_STATE_REMOVING
		return changed
	})
}

// forget drops what is left of a replica that has lost its log, once the group has
// removed it. Until then its mark keeps it from being started.
func (a *Agent) forget(ctx context.Context, id shards.ShardID, placed *internalv1.PlacementRecord) (acted bool, err error) {
	lost := a.lostOf(id)
	if lost == 0 || hasReplica(placed, lost) {
		return false, nil
	}
	if err := a.host.DropReplica(ctx, id, lost); err != nil {
		return false, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.work(id).lost = 0
	return true, nil
}

func hasReplica(placed *internalv1.PlacementRecord, id uint64) bool {
	return slices.ContainsFunc(placed.GetReplicas(), func(r *internalv1.ReplicaRecord) bool { return r.GetReplicaId() == id })
}

// transfer hands leadership over, unless as many hand-overs are on their way as
// may be: then it is looked at again soon.
func (a *Agent) transfer(ctx context.Context, act action) (acted bool, err error) {
	a.mu.Lock()
	w := a.work(act.shard)
	wait := time.Until(w.handOverAt)
	a.mu.Unlock()
	if wait > 0 {
		return false, nil
	}
	select {
	case a.transfers <- struct{}{}:
		defer func() { <-a.transfers }()
	default:
		return false, nil
	}
	err = a.host.TransferLeader(ctx, act.shard, act.replica)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		w.handOverAt = time.Now().Add(min(handOverMin<<min(w.handOvers, 10), handOverMax))
		w.handOvers++
		return false, err
	}
	w.handOvers = 0
	a.log.Info("leadership was handed over", "shard_id", uint64(act.shard), "replica_id", act.replica, "node", act.node)
	return true, nil
}

// note moves a replica's record from one state to the next, unless somebody else
// has moved it.
func (a *Agent) note(ctx context.Context, act action, from, to internalv1.ReplicaState) error {
	return a.edit(ctx, act, func(r *internalv1.ReplicaRecord) bool {
		if r.GetState() != from {
			return false
		}
		r.State = to
		return true
	})
}

// edit changes the record of the action's replica, if there is one.
func (a *Agent) edit(ctx context.Context, act action, edit func(*internalv1.ReplicaRecord) bool) error {
	return a.placements.ChangePlacement(ctx, act.shard, func(placed *internalv1.PlacementRecord) bool {
		for _, r := range placed.GetReplicas() {
			if r.GetReplicaId() == act.replica {
				return edit(r)
			}
		}
		return false
	})
}

// strike takes a replica that the group does not have any more off the record.
func (a *Agent) strike(ctx context.Context, act action) error {
	return a.placements.ChangePlacement(ctx, act.shard, func(placed *internalv1.PlacementRecord) bool {
		before := len(placed.GetReplicas())
		placed.Replicas = slices.DeleteFunc(placed.GetReplicas(), func(r *internalv1.ReplicaRecord) bool {
			return r.GetReplicaId() == act.replica && r.GetState() == internalv1.ReplicaState_REPLICA_STATE_REMOVING
		})
		return len(placed.GetReplicas()) != before
	})
}

// compare removes members of a group that its record does not know: a leader that
// was deposed while it added one may have left it so. A member is on record before
// it is added, so one that is not on a record read later is to be gone.
func (a *Agent) compare(ctx context.Context, id shards.ShardID, here shards.ReplicaStatus) error {
	members, err := a.host.Membership(ctx, id)
	if err != nil {
		return err
	}
	placed, err := a.placements.Placement(ctx, id)
	if err != nil {
		return err
	}
	if placed == nil || !hasReplica(placed, here.Replica) {
		return nil // the record says too little to be believed
	}
	for _, m := range members {
		if hasReplica(placed, m.Replica) {
			continue
		}
		a.log.Warn("replica that no record knows is removed from its group", "shard_id", uint64(id), "replica_id", m.Replica, "node", m.Node)
		if err := a.host.RemoveReplica(ctx, id, m.Replica); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.work(id)
	w.term, w.checked = here.Term, time.Now()
	return nil
}
