package linear

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tests/faultnet"
	"github.com/flotillakv/flotilla/tests/process"
)

const (
	// tenantShard is the shard of the tenant's default namespace.
	tenantShard = 2
	// dataShards is how many shards hold namespaces, beside the system shard.
	dataShards = 3
	// recoverMax is how long a cluster may take to be whole again.
	recoverMax = 2 * time.Minute
)

// A nemesis does to the nodes of a cluster what a seed says.
type nemesis struct {
	t       *testing.T
	cluster *process.Cluster
	network *faultnet.Network
	random  *rand.Rand
	began   time.Time

	faults   []process.Faults // of each node
	launched map[int]bool     // nodes of which nobody knows yet that they are ready
}

// fault is something that befalls a node. begin has it befall, and what it returns
// undoes it.
type fault struct {
	name  string
	begin func(n *nemesis, node int) (end func())
	// alone is that it needs the other nodes to be well.
	alone bool
}

// allFaults are what can befall a node.
func allFaults() []fault {
	return []fault{
		{name: "killed", begin: (*nemesis).kill},
		{name: "paused", begin: (*nemesis).pause},
		{name: "cut off", begin: (*nemesis).cutOff},
		{name: "cut from one other", begin: (*nemesis).split},
		{name: "not heard", begin: (*nemesis).mute},
		{name: "hearing nobody", begin: (*nemesis).deafen},
		{name: "disconnected", begin: (*nemesis).disconnect},
		{name: "on slow links", begin: (*nemesis).slowLinks},
		{name: "on a slow disk", begin: (*nemesis).slowDisk},
		{name: "stopped, so that others lead", begin: (*nemesis).stop, alone: true},
		{name: "replaced", begin: (*nemesis).replace, alone: true},
		{name: "killed with all others", begin: (*nemesis).killAll, alone: true},
		{name: "set to another time", begin: (*nemesis).setClock, alone: true},
	}
}

func newNemesis(t *testing.T, c *process.Cluster, network *faultnet.Network, random *rand.Rand) *nemesis {
	t.Helper()
	return &nemesis{
		t: t, cluster: c, network: network, random: random, began: time.Now(),
		faults: make([]process.Faults, len(c.Nodes)), launched: make(map[int]bool),
	}
}

// strike has a fault befall a node for a moment, sometimes together with another
// one, and waits until the cluster is whole again.
func (n *nemesis) strike(f fault) {
	n.t.Helper()
	node := n.victim()
	n.say("n%d is %s", node+1, f.name)
	ends := []func(){f.begin(n, node)}
	if second := n.drawSecond(); !f.alone && !second.alone {
		n.moment(0, 500*time.Millisecond)
		other := (node + 1 + n.random.IntN(len(n.cluster.Nodes)-1)) % len(n.cluster.Nodes)
		n.say("n%d is %s", other+1, second.name)
		ends = append(ends, second.begin(n, other))
	}
	if process.Slow() && n.random.IntN(5) == 0 { // so long that nodes are held for dead
		n.moment(5*time.Second, 20*time.Second)
	} else {
		n.moment(300*time.Millisecond, 2500*time.Millisecond)
	}
	for _, end := range ends {
		end()
	}
	n.recover()
}

// drawSecond draws a fault for one in four times, and otherwise one that only comes
// alone.
func (n *nemesis) drawSecond() fault {
	faults := allFaults()
	if n.random.IntN(4) > 0 {
		return fault{alone: true}
	}
	return faults[n.random.IntN(len(faults))]
}

// victim draws a node: most often one that leads a shard.
func (n *nemesis) victim() int {
	shard, node := uint64(1+n.random.IntN(1+dataShards)), n.random.IntN(len(n.cluster.Nodes))
	if n.random.IntN(3) == 0 {
		return node
	}
	if leader := n.cluster.Leader(shard); leader >= 0 {
		return leader
	}
	return node
}

// recover waits until all nodes serve, and every shard is on all of them.
func (n *nemesis) recover() {
	n.t.Helper()
	for node := range n.launched {
		n.cluster.Nodes[node].WaitReady(n.t)
	}
	clear(n.launched)
	for node := range n.cluster.Nodes {
		n.cluster.WaitReplicated(n.t, node, len(n.cluster.Nodes), recoverMax)
		kv := n.cluster.Client(n.t, node).Namespace(n.cluster.Info.Namespace).KV
		require.Eventually(n.t, func() bool {
			_, err := kv.Put(n.t.Context(), fmt.Sprintf("well/%d", node), nil, nil)
			return err == nil
		}, recoverMax, 50*time.Millisecond, "n%d does not write", node+1)
	}
	n.say("all is well again")
}

func (n *nemesis) say(format string, args ...any) {
	n.t.Helper()
	n.t.Logf("%6.2fs %s", time.Since(n.began).Seconds(), fmt.Sprintf(format, args...))
}

// moment lets a random time pass. Nothing is waited for: the moment is what is
// tested.
func (n *nemesis) moment(from, to time.Duration) {
	<-time.After(from + time.Duration(n.random.Int64N(int64(to-from))))
}

func (n *nemesis) kill(node int) func() {
	n.cluster.Nodes[node].Kill(n.t)
	return func() { n.launch(node) }
}

func (n *nemesis) killAll(int) func() {
	for _, node := range n.cluster.Nodes {
		node.Kill(n.t)
	}
	return func() {
		for node := range n.cluster.Nodes {
			n.launch(node)
		}
	}
}

func (n *nemesis) launch(node int) {
	n.cluster.Nodes[node].Launch(n.t)
	n.launched[node] = true
}

// stop ends a node in good order: it has others lead its shards first.
func (n *nemesis) stop(node int) func() {
	n.cluster.Nodes[node].Stop(n.t)
	return func() { n.launch(node) }
}

// replace takes a node's data away. Another one with its name takes its place.
func (n *nemesis) replace(node int) func() {
	n.cluster.Nodes[node].Kill(n.t)
	n.cluster.Nodes[node].Wipe(n.t)
	return func() { n.launch(node) }
}

func (n *nemesis) pause(node int) func() {
	n.cluster.Nodes[node].Pause(n.t)
	return func() { n.cluster.Nodes[node].Resume(n.t) }
}

// links changes the links of a node: those that lead from it, and those to it.
func (n *nemesis) links(node int, from, to faultnet.Condition) func() {
	for other := range n.cluster.Nodes {
		if other != node {
			n.network.Set(node, other, from)
			n.network.Set(other, node, to)
		}
	}
	return n.network.Heal
}

func (n *nemesis) cutOff(node int) func() {
	return n.links(node, faultnet.Condition{Cut: true}, faultnet.Condition{Cut: true})
}

func (n *nemesis) mute(node int) func() {
	return n.links(node, faultnet.Condition{Cut: true}, faultnet.Condition{})
}

func (n *nemesis) deafen(node int) func() {
	return n.links(node, faultnet.Condition{}, faultnet.Condition{Cut: true})
}

func (n *nemesis) disconnect(node int) func() {
	return n.links(node, faultnet.Condition{Reset: true}, faultnet.Condition{Reset: true})
}

func (n *nemesis) slowLinks(node int) func() {
	slow := faultnet.Condition{
		Delay:          time.Duration(n.random.IntN(150)) * time.Millisecond,
		BytesPerSecond: (64 + n.random.IntN(1024)) << 10,
	}
	return n.links(node, slow, slow)
}

// split cuts the link between two nodes; the third reaches both.
func (n *nemesis) split(node int) func() {
	n.network.SetBetween(node, (node+1)%len(n.cluster.Nodes), faultnet.Condition{Cut: true})
	return n.network.Heal
}

func (n *nemesis) slowDisk(node int) func() {
	n.set(node, func(f *process.Faults) { f.SyncDelayMS = 10 + n.random.Int64N(190) })
	return func() { n.set(node, func(f *process.Faults) { f.SyncDelayMS = 0 }) }
}

// setClock sets a node's clock, has others lead what it led, and sets it right.
func (n *nemesis) setClock(node int) func() {
	seconds := 1 + n.random.Int64N(7200)
	if n.random.IntN(2) == 0 {
		seconds = -seconds
	}
	n.say("by %d seconds", seconds)
	n.set(node, func(f *process.Faults) { f.ClockStepSeconds = seconds })
	n.moment(300*time.Millisecond, time.Second)
	n.cluster.Nodes[node].Stop(n.t)
	n.launch(node)
	return func() {
		n.set(node, func(f *process.Faults) { f.ClockStepSeconds = 0 })
	}
}

func (n *nemesis) set(node int, change func(*process.Faults)) {
	n.t.Helper()
	change(&n.faults[node])
	n.cluster.SetFaults(n.t, node, n.faults[node])
}
