package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
	"github.com/flotillakv/flotilla/tests/process"
)

const (
	// tenantShard is the shard of the tenant's namespace: the first data shard.
	tenantShard = 2
	// replicatedMax is how long a cluster may take to have all its replicas again.
	replicatedMax = time.Minute
	// gapMax is how long writes may stand still after a leader was killed, on a
	// machine that does nothing else. A longer gap is accounted for in the log.
	gapMax = 1500 * time.Millisecond
	// outageMax is the same on a machine that is as busy as can be, and what else may
	// take as long there: a replica to catch up after its node came back, and a stream
	// to answer.
	outageMax = 30 * time.Second
)

// startCluster starts three nodes and waits until everything is on all of them.
func startCluster(t *testing.T, flags ...string) *process.Cluster {
	t.Helper()
	c := process.NewCluster(t, 3, append([]string{"--data-shards", "3"}, flags...)...)
	c.WaitReplicated(t, 0, 3, replicatedMax)
	return c
}

// clusterKVs makes clients that begin with different nodes.
func clusterKVs(t *testing.T, c *process.Cluster, n int) []*flotilla.KV {
	t.Helper()
	var kvs []*flotilla.KV
	for i := range n {
		kvs = append(kvs, c.Client(t, i%len(c.Nodes)).Namespace(c.Info.Namespace).KV)
	}
	return kvs
}

// pulse writes all the time, and notes what fails.
type pulse struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu       sync.Mutex
	answered int
	failed   []error
}

// startPulse writes through clients of all nodes until the pulse is stopped.
func startPulse(t *testing.T, kvs []*flotilla.KV) *pulse {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	p := &pulse{stop: cancel}
	for id, kv := range kvs {
		p.done.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				_, err := kv.Put(context.WithoutCancel(ctx), fmt.Sprintf("pulse/%d", id), fmt.Append(nil, n), nil)
				p.note(err)
			}
		})
	}
	t.Cleanup(func() { p.end() })
	return p
}

func (p *pulse) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failed = append(p.failed, err)
		return
	}
	p.answered++
}

func (p *pulse) end() (calls int, failed []error) {
	p.stop()
	p.done.Wait()
	return p.answered, p.failed
}

// gap waits for the first answer to a write that is begun from now on, and returns
// how long it took to come: outageMax if it does not.
func (l *ledger) gap() time.Duration {
	began := time.Now()
	l.mu.Lock()
	l.mark, l.firstBegun = began, timed{}
	l.mu.Unlock()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for time.Since(began) < outageMax {
		<-ticker.C
		l.mu.Lock()
		answered := l.firstBegun.answered
		l.mu.Unlock()
		if !answered.IsZero() {
			return answered.Sub(began)
		}
	}
	return outageMax
}

// TestWritesGoOnWhenTheLeaderDies kills the node that leads the namespace's shard
// under load, again and again. Nothing that was acknowledged may be lost, nothing
// may happen twice, and writes go on within a second or so; how long that takes
// is logged. A node that comes back is as far as the others soon, so that the next one
// may die.
func TestWritesGoOnWhenTheLeaderDies(t *testing.T) {
	t.Parallel()
	kills := 2
	if process.Slow() {
		kills = 30
	}
	seed := process.Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	c := startCluster(t)
	l := newLedger()
	var gaps []time.Duration
	for round := range kills {
		w := startWriters(context.WithoutCancel(t.Context()), clusterKVs(t, c, 6), l, round, seed)
		moment(random, 50*time.Millisecond, 500*time.Millisecond)
		leader := c.WaitLeader(t, tenantShard, replicatedMax)
		c.Nodes[leader].Kill(t)
		a := startAccount(c, tenantShard)
		gap := l.gap()
		gaps = append(gaps, gap)
		if account := a.stop(); gap > gapMax {
			t.Logf("writes stood still for %s. What the nodes said of the shard:\n%s", gap.Round(time.Millisecond), account)
			c.LogOutputs(t)
		}
		require.Less(t, gap, outageMax, "writes do not go on")
		moment(random, 0, 500*time.Millisecond)
		c.Nodes[leader].Start(t)
		require.NoError(t, w.finish())
		before := l.outcomes()
		l.verify(t, clusterKVs(t, c, 1)[0])
		t.Logf("round %d: killed n%d, writes went on after %s; %s", round, leader+1, gap.Round(time.Millisecond), before)
		c.WaitReplicated(t, leader, 3, replicatedMax)
		c.WaitCaughtUp(t, tenantShard, outageMax)
	}
	slices.Sort(gaps)
	t.Logf("writes went on after %s in the median and %s at most, of %d kills", gaps[len(gaps)/2], gaps[len(gaps)-1], kills)
}

// TestWipedNodeIsFilledAgain takes a node's data away under load. It comes back
// with nothing, and the cluster has all its replicas again without anybody's help.
func TestWipedNodeIsFilledAgain(t *testing.T) {
	t.Parallel()
	seed := process.Seed(t)
	c := startCluster(t)
	l := newLedger()
	w := startWriters(context.WithoutCancel(t.Context()), clusterKVs(t, c, 6), l, 0, seed)
	moment(rand.New(rand.NewPCG(seed, 1)), 200*time.Millisecond, 700*time.Millisecond)
	wiped := 2
	c.Nodes[wiped].Kill(t)
	c.Nodes[wiped].Wipe(t)
	started := time.Now()
	c.Nodes[wiped].Start(t)
	c.WaitReplicated(t, wiped, 3, replicatedMax)
	t.Logf("all replicas were there again after %s", time.Since(started).Round(time.Millisecond))
	// The new replicas count: another node may die.
	other := (wiped + 1) % 3
	c.Nodes[other].Kill(t)
	moment(rand.New(rand.NewPCG(seed, 2)), time.Second, 2*time.Second)
	require.NoError(t, w.finish())
	l.verify(t, c.Client(t, wiped).Namespace(c.Info.Namespace).KV)
	t.Log(l.outcomes())
}

// TestRollingRestartFailsNoCall stops and starts each node in turn under load. No
// call of a client fails that tries again as it does by itself.
func TestRollingRestartFailsNoCall(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	p := startPulse(t, clusterKVs(t, c, 12))
	for i, node := range c.Nodes {
		began := time.Now()
		node.Stop(t)
		stopped := time.Since(began)
		node.Start(t)
		c.WaitReplicated(t, i, 3, replicatedMax)
		t.Logf("n%d: stopped within %s, back after %s", i+1, stopped.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	}
	calls, failed := p.end()
	require.Empty(t, failed)
	require.Positive(t, calls)
	t.Logf("%d calls, none failed", calls)
}

// TestReplicaWithoutItsLogIsReplaced takes a node's Raft logs away, and leaves the
// rest. Its replicas must not start again as if nothing had happened: they get
// successors, and the node's own mark of them goes.
func TestReplicaWithoutItsLogIsReplaced(t *testing.T) {
	t.Parallel()
	seed := process.Seed(t)
	c := startCluster(t)
	l := newLedger()
	w := startWriters(context.WithoutCancel(t.Context()), clusterKVs(t, c, 4), l, 0, seed)
	before := c.Status(0).ReplicasOf(tenantShard)
	lost := 1
	c.Nodes[lost].Kill(t)
	require.NoError(t, os.RemoveAll(filepath.Join(c.Nodes[lost].DataDir, "raft")))
	c.Nodes[lost].Start(t)
	require.Eventually(t, func() bool {
		status := c.Status(lost)
		if status == nil || !status.Replicated(3) {
			return false
		}
		for id := range status.ReplicasOf(tenantShard) {
			if _, ok := before[id]; !ok {
				return true // a number that was not there before
			}
		}
		return false
	}, replicatedMax, 20*time.Millisecond, "the replicas have no successors")
	require.NoError(t, w.finish())
	l.verify(t, c.Client(t, lost).Namespace(c.Info.Namespace).KV)
}

// TestDeadNodeIsReplaced lets a node die for good, with another one to spare.
func TestDeadNodeIsReplaced(t *testing.T) {
	t.Parallel()
	seed := process.Seed(t)
	c := startCluster(t, "--replace-after", "10s")
	spare := c.Add(t)
	l := newLedger()
	w := startWriters(context.WithoutCancel(t.Context()), clusterKVs(t, c, 4), l, 0, seed)
	c.WaitReplicated(t, 3, 3, replicatedMax) // some of it moves to the new node
	c.Nodes[2].Kill(t)
	require.Eventually(t, func() bool { return c.Status(3).NodeState("n3") == "dead" }, replicatedMax, 20*time.Millisecond)
	c.WaitReplicated(t, 3, 3, replicatedMax) // on nodes that are active
	require.NoError(t, w.finish())
	l.verify(t, c.Client(t, 3).Namespace(c.Info.Namespace).KV)
	// It may come back, and finds its place taken.
	c.Nodes[2].Start(t)
	c.WaitReplicated(t, 2, 3, replicatedMax)
	spare.Stop(t)
}

// TestNodesComeBackUnderOtherAddresses stops all nodes and starts them on other
// ports. None of them is where the others, or the catalog, remember it.
func TestNodesComeBackUnderOtherAddresses(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	kv := c.Client(t, 0).Namespace(c.Info.Namespace).KV
	_, err := kv.Put(t.Context(), "kept", []byte("here"), nil)
	require.NoError(t, err)
	for _, node := range c.Nodes {
		node.Stop(t)
	}
	c.Move(t)
	for _, node := range c.Nodes {
		node.Launch(t)
	}
	for _, node := range c.Nodes {
		node.WaitReady(t)
	}
	for i := range c.Nodes {
		found, err := c.Client(t, i).Namespace(c.Info.Namespace).KV.Get(t.Context(), "kept", nil)
		require.NoError(t, err)
		require.Equal(t, "here", string(found.Value))
	}
}
