package linear

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
	"github.com/flotillakv/flotilla/tests/faultnet"
	"github.com/flotillakv/flotilla/tests/process"
	"github.com/flotillakv/flotilla/tests/watch"
)

const (
	nodes = 3
	// Namespaces that nobody else uses.
	watched = "watched"
	leased  = "leased"
)

// startCluster starts three nodes that talk over a network which can be broken.
func startCluster(t *testing.T, flags ...string) (*process.Cluster, *faultnet.Network) {
	t.Helper()
	if !faultnet.Supported() {
		t.Skip("this system has no loopback address for each node")
	}
	began, network := time.Now(), faultnet.New(t)
	c := process.StartCluster(t, process.ClusterConfig{
		Nodes: nodes, Flags: append([]string{"--data-shards", strconv.Itoa(dataShards)}, flags...), Network: network, Faults: true,
	})
	c.WaitReplicated(t, 0, nodes, recoverMax)
	for from := range nodes {
		for to := range nodes {
			require.Equal(t, from != to, network.Carried(from, to) > 0, "the link from %d to %d", from, to)
		}
	}
	t.Logf("the cluster is there after %s", time.Since(began).Round(time.Millisecond))
	return c, network
}

// clusterPorts are ways to the default namespace: through the Go client and through
// the etcd v3 API, beginning with each node.
func clusterPorts(t *testing.T, c *process.Cluster) []port {
	t.Helper()
	var ports []port
	endpoints := c.EtcdEndpoints()
	for i := range endpoints {
		plain, err := newEtcd(slices.Concat(endpoints[i:], endpoints[:i]), c.TLS, c.Info.APIKey+"@"+c.Info.Namespace)
		require.NoError(t, err)
		t.Cleanup(func() { _ = plain.close() })
		ports = append(ports, plain, sdk{c.Client(t, i).Namespace(c.Info.Namespace).KV}, sdk{c.Client(t, i).Namespace(c.Info.Namespace).KV})
	}
	return ports
}

// running is a workload that runs.
type running struct {
	*workload
	done    chan struct{}
	history []porcupine.Operation
	err     error
}

// begin starts a workload that goes on until it is finished.
func begin(t *testing.T, w *workload) *running {
	t.Helper()
	r := &running{workload: w, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() {
		defer close(r.done)
		r.history, r.err = w.run(ctx)
	}()
	t.Cleanup(func() {
		w.stop()
		cancel()
		<-r.done
	})
	return r
}

// finish lets the calls end that were begun, and returns the history.
func (r *running) finish(t *testing.T) []porcupine.Operation {
	t.Helper()
	r.stop()
	<-r.done
	require.NoError(t, r.err)
	return r.history
}

// TestClusterKeepsItsWordOverFaults does to the nodes what a seed says, while
// callers write and read through the Go client and the etcd v3 API, others watch,
// and others have leases. What the callers saw must have happened in one order, the
// watches must show it, and no lease may end before its time.
func TestClusterKeepsItsWordOverFaults(t *testing.T) {
	t.Parallel()
	strikes := 3
	if process.Slow() {
		strikes = 40
	}
	seed := process.Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	var flags []string
	if random.IntN(2) == 0 {
		t.Log("all ports are encrypted")
		flags = []string{"--cert-dir", process.Certificates(t, nodes)}
	}
	c, network := startCluster(t, flags...)
	require.NoError(t, c.Client(t, 0).CreateNamespaces(t.Context(), watched, leased))

	callers := begin(t, &workload{
		ports: clusterPorts(t, c), seed: seed, callers: 18, calls: math.MaxInt64, rest: 20 * time.Millisecond,
		patience: 50 * time.Millisecond, start: time.Now(),
	})
	var made int
	watches := watch.Start(t, func() *flotilla.KV {
		made++
		return c.Client(t, made%nodes).Namespace(watched).KV
	}, seed)
	var spaces []*flotilla.Namespace
	for i := range nodes {
		spaces = append(spaces, c.Client(t, i).Namespace(leased))
	}
	ending := startLeases(t, spaces, seed)

	n := newNemesis(t, c, network, random)
	all := allFaults()
	for i := range strikes {
		if i%len(all) == 0 {
			random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		}
		n.moment(100*time.Millisecond, 500*time.Millisecond)
		n.strike(all[i%len(all)])
		callers.epoch.Add(1)
	}
	history := callers.finish(t)
	require.Greater(t, len(history), 200)
	requireLinearizable(t, history)
	watches.Finish(t, time.Minute)
	ending.finish(t)
}
