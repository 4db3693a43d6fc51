package plan_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/plan"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// TestScenarios runs the scenarios in testdata. Their commands:
//
//	cluster [replication=3] [level=1]   begins anew
//	  node NAME [zone=Z] [level=N] [dead|missing|alive=DURATION] [state=draining|removed]
//	  shard ID NODE=STATE ... [leader=NODE]
//	node NAME ...                       adds or changes nodes, one a line
//	wait DURATION                       lets time pass
//	plan                                shows the next steps
//	take                                takes them, and shows what that makes of the shards
//	run                                 takes steps, with all agents doing their work, until nothing is left to do
//
// With dead=10s the node has been noted as dead for so long; with missing=10s it has
// shown no sign of life for so long, and that is not noted; with alive=10s it has been
// alive for so long, and without any of them for an hour.
func TestScenarios(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		t.Helper()
		s := &scenario{t: t}
		datadriven.RunTest(t, path, s.run)
	})
}

type scenario struct {
	t *testing.T
	m *model
}

func (s *scenario) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	switch d.Cmd {
	case "cluster":
		s.m = &model{now: time.Unix(1_000_000, 0), wanted: 3, level: 1, nodes: map[string]*modelNode{}, shards: map[uint64]*modelShard{}}
		if d.HasArg("replication") {
			d.ScanArgs(t, "replication", &s.m.wanted)
		}
		if d.HasArg("level") {
			d.ScanArgs(t, "level", &s.m.level)
		}
		s.lines(d.Input)
		return "ok\n"
	case "node":
		s.node(d.CmdArgs)
		s.lines(d.Input)
		return "ok\n"
	case "wait":
		by, err := time.ParseDuration(d.CmdArgs[0].Key)
		require.NoError(t, err)
		s.m.now = s.m.now.Add(by)
		return "ok\n"
	case "plan":
		return stepsText(plan.Plan(s.m.view(), s.m.policy))
	case "take":
		for _, step := range plan.Plan(s.m.view(), s.m.policy) {
			s.m.take(step)
		}
		return s.shards()
	case "run":
		return s.rest()
	default:
		d.Fatalf(t, "%q is no command", d.Cmd)
		return ""
	}
}

// rest runs until nothing is left to do.
func (s *scenario) rest() string {
	var text strings.Builder
	for range 100 {
		steps := plan.Plan(s.m.view(), s.m.policy)
		worked := len(steps) > 0
		if worked {
			text.WriteString(stepsText(steps))
		}
		for _, step := range steps {
			s.m.take(step)
		}
		for _, id := range slices.Sorted(maps.Keys(s.m.shards)) {
			for s.m.work(s.m.shards[id]) {
				worked = true
			}
		}
		if !worked {
			return text.String() + "at rest:\n" + s.shards()
		}
	}
	return text.String() + "it does not come to rest\n"
}

func stepsText(steps []plan.Step) string {
	if len(steps) == 0 {
		return "nothing\n"
	}
	var text strings.Builder
	for _, step := range steps {
		fmt.Fprintln(&text, step)
	}
	return text.String()
}

func (s *scenario) shards() string {
	var text strings.Builder
	for _, id := range slices.Sorted(maps.Keys(s.m.shards)) {
		placed := s.m.shards[id].record
		fmt.Fprintf(&text, "shard %d:", id)
		for _, r := range placed.GetReplicas() {
			state := strings.ToLower(strings.TrimPrefix(r.GetState().String(), "REPLICA_STATE_"))
			fmt.Fprintf(&text, " %d@%s=%s", r.GetReplicaId(), r.GetNodeId(), state)
		}
		if placed.GetLeaderNodeId() != "" {
			fmt.Fprintf(&text, " leader=%s", placed.GetLeaderNodeId())
		}
		text.WriteByte('\n')
	}
	return text.String()
}

// lines reads nodes and shards, one a line.
func (s *scenario) lines(input string) {
	for line := range strings.Lines(input) {
		kind, args, err := datadriven.ParseLine(line)
		require.NoError(s.t, err)
		switch kind {
		case "":
		case "node":
			s.node(args)
		case "shard":
			s.shard(args)
		default:
			require.Fail(s.t, "unknown line", line)
		}
	}
}

func (s *scenario) node(args []datadriven.CmdArg) {
	name := args[0].Key
	n, ok := s.m.nodes[name]
	if !ok {
		n = &modelNode{
			record: &internalv1.NodeRecord{Name: name, Hosts: true, Level: 1, State: active},
			alive:  true, since: s.m.now.Add(-time.Hour),
		}
		s.m.nodes[name] = n
	}
	for _, arg := range args[1:] {
		value := arg.SingleVal(s.t)
		switch arg.Key {
		case "zone":
			n.record.Zone = value
		case "level":
			level, err := strconv.ParseUint(value, 10, 32)
			require.NoError(s.t, err)
			n.record.Level = uint32(level)
		case "state":
			n.record.State = map[string]internalv1.NodeState{"active": active, "draining": draining, "removed": removed}[value]
		case "hosts":
			n.record.Hosts = value == "true"
		case "dead":
			n.alive, n.since = false, s.m.now.Add(-duration(s.t, value))
			n.record.DeadSinceMs = uint64(n.since.UnixMilli())
		case "missing":
			n.alive, n.since = false, s.m.now.Add(-duration(s.t, value))
		case "alive":
			n.alive, n.since = true, s.m.now.Add(-duration(s.t, value))
		default:
			require.Fail(s.t, "unknown argument", arg.Key)
		}
	}
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	require.NoError(t, err)
	return d
}

func (s *scenario) shard(args []datadriven.CmdArg) {
	id, err := strconv.ParseUint(args[0].Key, 10, 64)
	require.NoError(s.t, err)
	placed := &internalv1.PlacementRecord{NextReplicaId: 1}
	shard := &modelShard{record: placed, members: map[uint64]bool{}}
	for _, arg := range args[1:] {
		value := arg.SingleVal(s.t)
		if arg.Key == "leader" {
			placed.LeaderNodeId = value
			continue
		}
		state, ok := internalv1.ReplicaState_value["REPLICA_STATE_"+strings.ToUpper(value)]
		require.True(s.t, ok, value)
		r := &internalv1.ReplicaRecord{ReplicaId: placed.GetNextReplicaId(), NodeId: arg.Key, State: internalv1.ReplicaState(state)}
		placed.Replicas = append(placed.Replicas, r)
		placed.NextReplicaId++
		if r.GetState() != adding {
			shard.members[r.GetReplicaId()] = slices.Contains([]internalv1.ReplicaState{first, voter, removing}, r.GetState())
		}
	}
	s.m.shards[id] = shard
}
