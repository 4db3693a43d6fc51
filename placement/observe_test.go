package placement

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/placement/plan"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// A missing sign of life means death only after a while: the loop may have begun
// just now, the node too, or the system shard may have been away. Who comes back has
// been alive from that moment on.
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
	require.True(t, v["old"].Alive, "the loop before held it for alive")
	require.Equal(t, time.UnixMilli(5), v["old"].AliveSince, "for as long as it was there")
	require.False(t, v["dead"].Alive)
	require.True(t, look(4)["old"].Alive)
	require.False(t, look(5)["old"].Alive)

	v = look(6, "old", "dead")
	require.True(t, v["old"].Alive)
	require.Equal(t, time.UnixMilli(5), v["old"].AliveSince, "its death was never noted")
	require.True(t, v["dead"].Alive)
	require.Equal(t, at(6), v["dead"].AliveSince)

	nodes["dead"].DeadSinceMs = 0
	nodes["new"] = &internalv1.NodeRecord{JoinTimeMs: 5}
	v = look(7, "old", "dead")
	require.Equal(t, at(6), v["dead"].AliveSince)
	require.True(t, v["new"].Alive, "it has joined and shows itself in a moment")
	require.Equal(t, at(7), v["new"].AliveSince)
	require.False(t, look(12, "old", "dead")["new"].Alive)

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
