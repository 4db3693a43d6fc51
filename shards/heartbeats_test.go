package shards_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards"
)

// away has a replica lack so many entries. Its node is off the network.
func (g *group) away(name string, leader *shards.Host, lacks int) (key, value string) {
	g.t.Helper()
	g.network.Cut(nodeID(name), true)
	value = strings.Repeat("v", 8<<10)
	for i := range lacks {
		key = fmt.Sprint(i)
		g.put([]*shards.Host{leader}, key, value)
	}
	return key, value
}

// startReads makes a node's replica current again and again, until the end of what
// is returned.
func (g *group) startReads(h *shards.Host) (end func()) {
	const readers = 8
	ctx, cancel := context.WithCancel(g.t.Context())
	var reading sync.WaitGroup
	for range readers {
		reading.Go(func() {
			for ctx.Err() == nil {
				_ = h.Current(ctx, dataShard) // it may fail for a moment
			}
		})
	}
	end = func() {
		cancel()
		reading.Wait()
	}
	g.t.Cleanup(end)
	return end
}

// TestReplicaThatWasAwayIsSentWhatItLacksFewTimes: each round of reads asks all
// replicas for a sign of life, and to each sign of one that is behind the engine
// answers with all that it lacks. Reads that go on while a replica comes back must
// not multiply that, or its leader does nothing else.
func TestReplicaThatWasAwayIsSentWhatItLacksFewTimes(t *testing.T) {
	t.Parallel()
	const lacks, timesMax = 400, 20
	g := newGroup(t, shards.Config{})
	n1, _, n3 := g.three()
	key, value := g.away("03", n1, lacks)
	end := g.startReads(n1)
	before := g.network.Entries(nodeID("03"))
	g.network.Slow(nodeID("03"), 30*time.Millisecond) // many rounds begin before it answers one
	g.network.Cut(nodeID("03"), false)
	require.Equal(t, value, g.get(n3, key))
	sent := g.network.Entries(nodeID("03")) - before
	end()
	require.GreaterOrEqual(t, sent, lacks)
	require.Less(t, sent, timesMax*lacks, "it was sent all of it again and again")
}

// TestReadsNeedAReplicaThatIsBehind: if it is the only other one that is left, reads
// and writes go on by it.
func TestReadsNeedAReplicaThatIsBehind(t *testing.T) {
	t.Parallel()
	g := newGroup(t, shards.Config{})
	n1, _, n3 := g.three()
	key, value := g.away("03", n1, 200)
	g.startReads(n1)
	g.network.Cut(nodeID("02"), true)
	g.network.Cut(nodeID("03"), false)
	require.Equal(t, value, g.get(n1, key))
	g.put([]*shards.Host{n1, n3}, key, "after")
	require.Equal(t, "after", g.get(n3, key))
}
