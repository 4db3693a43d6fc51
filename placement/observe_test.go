package placement

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/placement/plan"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// Since when a node shows signs of life, or does not, as far as a loop can know that
// has just begun. Who comes back has been alive from that moment on.
func TestSightings(t *testing.T) {
	t.Parallel()
	start := time.UnixMilli(1_000_000)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	nodes := map[string]*internalv1.NodeRecord{"old": {JoinTimeMs: 5}, "dead": {JoinTimeMs: 5, DeadSinceMs: 7}}
	var seen sightings
	look := func(seconds int, live ...string) map[string]plan.Node {
		r := &catalog.Records{
			Directory: &internalv1.Directory{Nodes: nodes, Cluster: &internalv1.ClusterRecord{Replication: 3, Level: 2}},
			Live:      map[string]string{},
		}
		for _, id := range live {
			r.Live[id] = "boot"
		}
		view := seen.view(r, at(seconds))
		require.Equal(t, 3, view.Replication)
		require.EqualValues(t, 2, view.Level)
		byID := make(map[string]plan.Node)
		for _, n := range view.Nodes {
			byID[n.ID] = n
		}
		return byID
	}

	v := look(0)
	require.False(t, v["old"].Alive)
	require.Equal(t, at(0), v["old"].Since, "it is not known since when")
	require.False(t, v["dead"].Alive)

	v = look(6, "old", "dead")
	require.True(t, v["old"].Alive)
	require.Equal(t, time.UnixMilli(5), v["old"].Since, "its death was never noted")
	require.True(t, v["dead"].Alive)
	require.Equal(t, at(6), v["dead"].Since)

	nodes["dead"].DeadSinceMs = 0
	nodes["new"] = &internalv1.NodeRecord{JoinTimeMs: 5}
	v = look(7, "old", "dead")
	require.Equal(t, at(6), v["dead"].Since)
	require.False(t, v["new"].Alive, "it shows itself in a moment")
	require.Equal(t, at(7), v["new"].Since)
	v = look(9, "new", "dead")
	require.True(t, v["new"].Alive)
	require.Equal(t, at(7), v["new"].Since)
	require.False(t, v["old"].Alive)
	require.Equal(t, at(7), v["old"].Since, "then it was seen last")

	nodes["old"].DeadSinceMs, nodes["old"].State = 9, internalv1.NodeState_NODE_STATE_REMOVED
	require.False(t, look(13, "old")["old"].Alive, "another has its place, so it is dead")
}

// Shards come in their order, the system shard first.
func TestViewOfShards(t *testing.T) {
	t.Parallel()
	placements := map[uint64]*internalv1.PlacementRecord{}
	for id := range uint64(20) {
		placements[20-id] = &internalv1.PlacementRecord{NextReplicaId: id}
	}
	var seen sightings
	view := seen.view(&catalog.Records{Directory: &internalv1.Directory{Placements: placements}}, time.Now())
	require.Equal(t, 1, view.Replication, "a cluster without a record")
	for i, s := range view.Shards {
		require.EqualValues(t, i+1, s.ID)
		require.Same(t, placements[s.ID], s.Record)
	}
}
