package linear

import (
	"math"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tests/faultnet"
	"github.com/flotillakv/flotilla/tests/process"
)

// TestPlantedBugIsFound cuts a node off from the others while callers of all nodes
// go on. What they see is right until the nodes serve linearizable reads without
// asking the leader: that the checker must refuse, or it finds nothing else either.
func TestPlantedBugIsFound(t *testing.T) {
	t.Parallel()
	// What a busy machine does not check in time tells nothing, neither way, so other
	// rounds take its place.
	const (
		checkedMax, uncheckedMax = 5, 10
		checkTimeout             = 30 * time.Second
		giveUp                   = 6 * time.Minute
	)
	seed := process.Seed(t)
	c, network := startCluster(t)
	requireLinearizable(t, roundWithNodeCutOff(t, c, network, seed, 0))
	for node := range nodes {
		c.SetFaults(t, node, process.Faults{StaleReads: true})
	}
	checked, unchecked := 0, 0
	for began := time.Now(); checked < checkedMax && unchecked < uncheckedMax && time.Since(began) < giveUp; {
		history := roundWithNodeCutOff(t, c, network, seed, 1+checked+unchecked)
		result := porcupine.CheckOperationsTimeout(model(), history, checkTimeout)
		t.Logf("%d calls with stale reads: %s", len(history), result)
		switch result {
		case porcupine.Illegal:
			return
		case porcupine.Unknown:
			unchecked++
		case porcupine.Ok:
			checked++
		}
	}
	require.FailNow(t, "stale reads were not noticed", "%d rounds were found right, %d were not checked in time", checked, unchecked)
}

// roundWithNodeCutOff has callers at all nodes, cuts off one that does not lead, and
// returns what the callers saw, on keys that no other round has.
func roundWithNodeCutOff(t *testing.T, c *process.Cluster, network *faultnet.Network, seed uint64, round int) []porcupine.Operation {
	t.Helper()
	leader := c.WaitLeader(t, tenantShard, recoverMax)
	w := &workload{
		ports: clusterPorts(t, c), seed: seed + uint64(round), callers: 18, readers: 9, calls: math.MaxInt64,
		// Writes of those who are cut off are of unknown outcome; few can be checked soon.
		rest: 5 * time.Millisecond, timeout: 500 * time.Millisecond, start: time.Now(),
	}
	w.epoch.Store(int64(round))
	callers := begin(t, w)
	answered(t, callers, 500)
	for other := range nodes {
		network.SetBetween((leader+1)%nodes, other, faultnet.Condition{Cut: true})
	}
	answered(t, callers, 1000)
	network.Heal()
	c.WaitReplicated(t, leader, nodes, recoverMax)
	return callers.finish(t)
}

// answered waits until a workload has made some more calls.
func answered(t *testing.T, w *running, calls int64) {
	t.Helper()
	upTo := w.made.Load() + calls
	require.Eventually(t, func() bool { return w.made.Load() >= upTo }, time.Minute, time.Millisecond)
}
