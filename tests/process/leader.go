package process

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Progress is how far a node's replica of a shard is. It is zero if the node does not
// answer, or has no replica.
type Progress struct {
	Term uint64
	// Leader is the id of the node that leads, as far as this one knows; "" if it
	// knows none.
	Leader string
	// Applied is the index that it has applied.
	Applied uint64
}

func (p Progress) String() string {
	if p == (Progress{}) {
		return "no answer"
	}
	return fmt.Sprintf("term %d, leader %q, applied %d", p.Term, p.Leader, p.Applied)
}

// Progress asks a node, from 0, how far its replica of a shard is.
func (c *Cluster) Progress(node int, shard uint64) Progress {
	status := c.Status(node)
	if status == nil {
		return Progress{}
	}
	for _, s := range status.Shards {
		if s.Shard == shard {
			return Progress{Term: s.Term, Leader: s.LeaderNode, Applied: s.Applied}
		}
	}
	return Progress{}
}

// WaitCaughtUp waits until all nodes have applied as much of a shard, of which each
// has a replica, and know the same leader. Nobody may write to it meanwhile.
func (c *Cluster) WaitCaughtUp(t *testing.T, shard uint64, within time.Duration) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		said, alike := make([]Progress, len(c.Nodes)), true
		for i := range c.Nodes {
			said[i] = c.Progress(i, shard)
			alike = alike && said[i] == said[0]
		}
		if alike && said[0].Leader != "" {
			return
		}
		require.True(t, time.Now().Before(deadline), "the replicas are not as far as each other: %v", said)
		<-time.After(20 * time.Millisecond)
	}
}

// Leader is the node, from 0, that leads a shard as it says itself, and -1 if none
// does: nodes hand shards over to each other at any time. A test that needs one has
// WaitLeader.
func (c *Cluster) Leader(shard uint64) int {
	for i := range c.Nodes {
		status := c.Status(i)
		if status == nil {
			continue
		}
		for _, s := range status.Shards {
			if s.Shard == shard && s.LeaderNode == status.NodeID {
				return i
			}
		}
	}
	return -1
}

// WaitLeader waits until a node leads a shard as it says itself, and returns which one,
// from 0.
func (c *Cluster) WaitLeader(t *testing.T, shard uint64, within time.Duration) int {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		if leader := c.Leader(shard); leader >= 0 {
			return leader
		}
		require.True(t, time.Now().Before(deadline), "no node leads shard %d", shard)
		<-time.After(20 * time.Millisecond)
	}
}
