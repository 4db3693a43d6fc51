package placement

import (
	"testing"

	"github.com/stretchr/testify/require"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

const (
	first      = internalv1.ReplicaState_REPLICA_STATE_FIRST
	adding     = internalv1.ReplicaState_REPLICA_STATE_ADDING
	catchingUp = internalv1.ReplicaState_REPLICA_STATE_CATCHING_UP
	caughtUp   = internalv1.ReplicaState_REPLICA_STATE_CAUGHT_UP
	promoting  = internalv1.ReplicaState_REPLICA_STATE_PROMOTING
	voter      = internalv1.ReplicaState_REPLICA_STATE_VOTER
	removing   = internalv1.ReplicaState_REPLICA_STATE_REMOVING
)

// placedOn is a placement with replica ids from 1 on: node, state, node, state ...
func placedOn(leader string, replicas ...any) *internalv1.PlacementRecord {
	p := &internalv1.PlacementRecord{LeaderNodeId: leader, NextReplicaId: uint64(len(replicas)/2) + 1}
	for i := 0; i < len(replicas); i += 2 {
		node, _ := replicas[i].(string)
		state, _ := replicas[i+1].(internalv1.ReplicaState)
		p.Replicas = append(p.Replicas, &internalv1.ReplicaRecord{ReplicaId: uint64(i/2) + 1, NodeId: node, State: state})
	}
	return p
}

// What an agent on the node "me" does next. Nodes whose names begin with "dead" are
// dead.
func TestNextAction(t *testing.T) {
	t.Parallel()
	runs := func(replica uint64) local { return local{replica: replica} }
	leads := func(replica uint64) local { return local{replica: replica, leads: true} }
	for name, test := range map[string]struct {
		placed *internalv1.PlacementRecord
		here   local
		want   action
	}{
		"a shard without a record is left alone":   {nil, leads(1), action{}},
		"a shard elsewhere":                        {placedOn("", "a", voter), local{}, action{}},
		"the first replica is started":             {placedOn("", "me", first), local{}, action{verb: verbFirst, replica: 1, node: "me"}},
		"the first replica runs":                   {placedOn("", "me", first), leads(1), action{verb: verbVoter, replica: 1, node: "me"}},
		"one that is not in the group yet waits":   {placedOn("", "a", voter, "me", adding), local{}, action{}},
		"one that is in the group is started":      {placedOn("", "a", voter, "me", catchingUp), local{}, action{verb: verbStart, replica: 2, node: "me"}},
		"one that runs catches up":                 {placedOn("", "a", voter, "me", catchingUp), runs(2), action{verb: verbCatchUp, replica: 2, node: "me"}},
		"one that has caught up waits":             {placedOn("", "a", voter, "me", caughtUp), runs(2), action{}},
		"a voter that does not run is started":     {placedOn("", "a", voter, "me", voter), local{}, action{verb: verbStart, replica: 2, node: "me"}},
		"one that goes is not started":             {placedOn("", "a", voter, "me", removing), local{}, action{}},
		"one that goes runs until it is out":       {placedOn("", "a", voter, "me", removing), runs(2), action{}},
		"one without an entry is dropped":          {placedOn("", "a", voter), runs(7), action{verb: verbDrop, replica: 7, node: "me"}},
		"one without an entry goes before another": {placedOn("", "a", voter, "me", catchingUp), runs(7), action{verb: verbDrop, replica: 7, node: "me"}},

		"a follower changes nothing":               {placedOn("a", "a", voter, "me", voter, "b", adding), runs(2), action{}},
		"the leader adds":                          {placedOn("", "me", voter, "b", adding), leads(1), action{verb: verbAdd, replica: 2, node: "b"}},
		"the leader promotes":                      {placedOn("", "me", voter, "b", promoting), leads(1), action{verb: verbPromote, replica: 2, node: "b"}},
		"but none that is dead":                    {placedOn("", "me", voter, "dead", promoting), leads(1), action{}},
		"the leader removes":                       {placedOn("", "me", voter, "b", removing), leads(1), action{verb: verbRemove, replica: 2, node: "b"}},
		"what goes comes first":                    {placedOn("", "me", voter, "b", promoting, "c", removing), leads(1), action{verb: verbRemove, replica: 3, node: "c"}},
		"a leader that goes hands over":            {placedOn("b", "me", removing, "a", voter, "b", voter), leads(1), action{verb: verbTransfer, replica: 3, node: "b"}},
		"to whomever it can":                       {placedOn("dead", "me", removing, "dead", voter, "b", voter), leads(1), action{verb: verbTransfer, replica: 3, node: "b"}},
		"or to nobody":                             {placedOn("", "me", removing, "dead", voter, "b", caughtUp), leads(1), action{}},
		"a leader that should be another":          {placedOn("b", "me", voter, "a", voter, "b", voter), leads(1), action{verb: verbTransfer, replica: 3, node: "b"}},
		"not while that one is dead":               {placedOn("dead", "me", voter, "dead", voter), leads(1), action{}},
		"nor before it votes":                      {placedOn("b", "me", voter, "b", caughtUp), leads(1), action{}},
		"a leader that should lead":                {placedOn("me", "me", voter, "a", voter), leads(1), action{}},
		"changes of the group come before leaders": {placedOn("b", "me", voter, "b", voter, "c", adding), leads(1), action{verb: verbAdd, replica: 3, node: "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			look := outlook{self: "me", alive: func(node string) bool { return node != "dead" }}
			test.want.shard = 9
			if test.placed == nil {
				test.want.shard = 0
			}
			require.Equal(t, test.want, look.next(9, test.placed, test.here))
		})
	}
}
