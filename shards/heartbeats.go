package shards

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"
)

// behindEntries is how many entries a replica may lack of what is committed and
// still be asked by every round of reads. Fewer are in memory, so that sending them
// anew costs little; and as many commit while messages wait to be sent.
const behindEntries = 64

// heartbeats keeps rounds of reads from asking replicas that are behind, again and
// again, for a sign of life.
//
// Each round (ReadIndex) is a heartbeat to every replica, and there are thousands a
// second. The engine answers the reply of a replica that is behind by reading all
// that this one lacks from disk, up to 64 MiB, and sending it: also if the same is
// on its way, and for each of the replies that came in together. So a node that comes
// back after a second, under load, can keep the engine of a leader busy with that for
// half a minute, in which none of its node's shards does anything else.
//
// No round needs such a replica: what is committed is on a quorum, and so a quorum
// has all of it. A heartbeat tells how much the replica is known to have of what is
// committed, so that one which is behind is recognized; the engine's own heartbeats,
// and a round now and then, still reach it.
type heartbeats struct {
	interval time.Duration // between the rounds that ask a replica that is behind

	mu     sync.Mutex
	groups map[uint64]*beats // by shard
}

// beats is what is known of one shard, which this node's replica leads, or led.
type beats struct {
	committed uint64               // the highest index that a message named
	asked     map[uint64]time.Time // by replica that is behind: when it was sent its last heartbeat
}

// passes tells whether a message goes to its replica, at this moment.
func (b *heartbeats) passes(m *raftpb.Message, now time.Time) bool {
	if m.Type != raftpb.Heartbeat && m.Type != raftpb.Replicate {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.groups[m.ShardID]
	if g == nil {
		if b.groups == nil {
			b.groups = make(map[uint64]*beats)
		}
		g = &beats{asked: make(map[uint64]time.Time)}
		b.groups[m.ShardID] = g
	}
	g.committed = max(g.committed, m.Commit)
	if m.Type == raftpb.Replicate {
		return true
	}
	if m.Commit+behindEntries >= g.committed {
		delete(g.asked, m.To)
		return true
	}
	ofRound := m.Hint != 0 || m.HintHigh != 0
	if ofRound && now.Sub(g.asked[m.To]) < b.interval {
		return false
	}
	g.asked[m.To] = now
	return true
}

// forget drops what is known of a shard.
func (b *heartbeats) forget(shard ShardID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.groups, uint64(shard))
}

// heartbeatTransport is a transport that asks replicas which are behind no more than
// heartbeats allow.
type heartbeatTransport struct {
	raftio.ITransport
	heartbeats *heartbeats
}

// GetConnection implements raftio.ITransport.
func (t *heartbeatTransport) GetConnection(ctx context.Context, target string) (raftio.IConnection, error) {
	conn, err := t.ITransport.GetConnection(ctx, target)
	if err != nil {
		return nil, err
	}
	return &heartbeatConn{conn, t.heartbeats}, nil
}

type heartbeatConn struct {
	raftio.IConnection
	heartbeats *heartbeats
}

// SendMessageBatch implements raftio.IConnection.
func (c *heartbeatConn) SendMessageBatch(batch raftpb.MessageBatch) error {
	now := time.Now()
	batch.Requests = slices.DeleteFunc(batch.Requests, func(m raftpb.Message) bool { return !c.heartbeats.passes(&m, now) })
	if len(batch.Requests) == 0 {
		return nil
	}
	return c.IConnection.SendMessageBatch(batch)
}
