package shards

import (
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"
)

func TestRoundsOfReadsSpareReplicasThatAreBehind(t *testing.T) {
	t.Parallel()
	const shard, other, interval = 2, 3, 60 * time.Millisecond
	began := time.Unix(1000, 0)
	b := heartbeats{interval: interval}
	// beat is a heartbeat to a replica that is known to have so much.
	beat := func(to, has, round uint64) *raftpb.Message {
		return &raftpb.Message{Type: raftpb.Heartbeat, ShardID: shard, To: to, Commit: has, Hint: round}
	}
	for _, step := range []struct {
		name    string
		after   time.Duration
		message *raftpb.Message
		passes  bool
	}{
		{"entries show what is committed", 0, &raftpb.Message{Type: raftpb.Replicate, ShardID: shard, To: 2, Commit: 1000}, true},
		{"a replica that has it all is asked", 0, beat(2, 1000, 1), true},
		{"and again", 0, beat(2, 1000, 2), true},
		{"and one that nearly has", 0, beat(2, 1000-behindEntries, 3), true},
		{"at the same time", 0, beat(2, 1000-behindEntries, 4), true},
		{"one that is behind is asked once", 0, beat(3, 0, 1), true},
		{"and not again", interval - 1, beat(3, 0, 2), false},
		{"but later", interval, beat(3, 0, 3), true},
		{"which counts from then", interval + 1, beat(3, 0, 4), false},
		{"the engine's own heartbeats pass", interval + 2, beat(3, 0, 0), true},
		{"and count", 2*interval + 1, beat(3, 0, 5), false},
		{"it has caught up", 2*interval + 1, beat(3, 1000, 6), true},
		{"at once", 2*interval + 1, beat(3, 1000, 7), true},
		{"a heartbeat shows what is committed too", 2*interval + 1, beat(2, 2000, 8), true},
		{"so that others are behind", 2*interval + 1, beat(3, 1000, 8), true},
		{"and asked once", 2*interval + 1, beat(3, 1000, 9), false},
		{"other messages pass", 0, &raftpb.Message{Type: raftpb.RequestVote, ShardID: shard, To: 3}, true},
		{"other shards are none of it", 0, &raftpb.Message{Type: raftpb.Heartbeat, ShardID: other, To: 3, Commit: 5, Hint: 1}, true},
		{"none at all", 0, &raftpb.Message{Type: raftpb.Heartbeat, ShardID: other, To: 3, Commit: 5, Hint: 2}, true},
	} {
		require.Equal(t, step.passes, b.passes(step.message, began.Add(step.after)), step.name)
	}
	b.forget(shard)
	require.True(t, b.passes(beat(3, 0, 9), began), "what is forgotten does not hold")
	require.Len(t, b.groups, 2)
	b.forget(shard)
	b.forget(other)
	require.Empty(t, b.groups)
}
