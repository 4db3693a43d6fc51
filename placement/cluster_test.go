package placement_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/placement"
	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/placement/plan"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/shardstest"
	"github.com/flotillakv/flotilla/shards/store"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

const (
	waitMax  = 60 * time.Second
	waitTick = 10 * time.Millisecond

	clusterID = "5a0c4b3e-7f35-4f0f-8d2a-0c8b6a4f2d10"
)

// cluster is nodes of one process whose Raft runs over a network in memory.
type cluster struct {
	t       *testing.T
	network shardstest.Network
	log     *slog.Logger

	// mu guards nodes.
	mu    sync.Mutex
	nodes map[string]*testNode // those that run, by id
	boots int
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	return &cluster{t: t, nodes: make(map[string]*testNode), log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

// testNode is one node with all parts of placement.
type testNode struct {
	cluster    *cluster
	id, name   string
	boot       string
	dir        string
	markers    *markers
	store      *store.Store
	host       *shards.Host
	directory  *catalog.Directory
	catalog    *catalog.Catalog
	membership *placement.Membership
	running    sync.WaitGroup
	stop       context.CancelFunc
	cloned     chan error
}

// markers remember in memory, over restarts of a node.
type markers struct {
	mu    sync.Mutex
	known map[shards.ReplicaSpec]bool
}

func (m *markers) HasReplica(shard shards.ShardID, replica uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[shards.ReplicaSpec{Shard: shard, Replica: replica}]
}

func (m *markers) MarkReplica(shard shards.ShardID, replica uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known[shards.ReplicaSpec{Shard: shard, Replica: replica}] = true
	return nil
}

func (m *markers) UnmarkReplica(shard shards.ShardID, replica uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, shards.ReplicaSpec{Shard: shard, Replica: replica})
	return nil
}

func nodeID(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// open makes a node's parts over a directory, which is new if it is nil.
func (c *cluster) open(id, name, dir string, marks *markers) *testNode {
	c.t.Helper()
	if marks == nil {
		dir, marks = c.t.TempDir(), &markers{known: make(map[shards.ReplicaSpec]bool)}
	}
	c.boots++
	n := &testNode{
		cluster: c, id: id, name: name, boot: fmt.Sprintf("boot-%d", c.boots), dir: dir, markers: marks,
		directory: catalog.NewDirectory(), cloned: make(chan error, 1),
	}
	var err error
	n.store, err = store.Open(store.Config{Dir: dir + "/state"})
	require.NoError(c.t, err)
	n.host, err = shards.Start(c.t.Context(), shards.Config{NodeID: id, Dir: dir + "/raft", Transport: c.network.Node(id)},
		n.store, marks, prometheus.NewRegistry(), slog.New(slog.DiscardHandler),
		func(err error) { c.t.Errorf("%s halted: %v", name, err) })
	require.NoError(c.t, err)
	n.catalog, err = catalog.New(c, n.directory, catalog.Config{}, time.Now, c.log.With("on", name))
	require.NoError(c.t, err)
	self := placement.Self{ClusterID: clusterID, NodeID: id, BootID: n.boot}
	n.membership = placement.NewMembership(self, n.catalog, n.directory, c.hello, time.Now, c.log.With("on", name))
	c.mu.Lock()
	c.nodes[id] = n
	c.mu.Unlock()
	c.t.Cleanup(n.kill)
	return n
}

func (n *testNode) record() *internalv1.NodeRecord {
	return &internalv1.NodeRecord{
		Name: n.name, PeerAddress: n.name + ":1", RaftAddress: n.name + ":2", Hosts: true, Level: 1, BootId: n.boot,
	}
}

func testPolicy() plan.Policy {
	return plan.Policy{ReplaceAfter: time.Second, LeadAfter: time.Millisecond}
}

// run runs what a node runs for as long as it lives.
func (n *testNode) run() {
	ctx, stop := context.WithCancel(context.WithoutCancel(n.cluster.t.Context()))
	n.stop = stop
	log := n.cluster.log.With("on", n.name)
	self := placement.Self{ClusterID: clusterID, NodeID: n.id, BootID: n.boot}
	for _, part := range []func(context.Context) error{
		n.catalog.Run,
		placement.NewLife(n.catalog, self, func(err error) { n.cloned <- err }, log).Run,
		placement.NewAgent(n.id, n.host, n.catalog, n.directory, log).Run,
		placement.NewLoop(n.id, n.host, n.catalog, n.directory, testPolicy(), prometheus.NewRegistry(), time.Now, log).Run,
	} {
		n.running.Go(func() {
			if err := part(ctx); err != nil {
				n.cluster.t.Errorf("%s: %v", n.name, err)
			}
		})
	}
}

// kill ends a node: the others hear no more of it, not even that it ends.
func (n *testNode) kill() {
	n.cluster.mu.Lock()
	if n.cluster.nodes[n.id] == n {
		delete(n.cluster.nodes, n.id)
	}
	host := n.host
	n.host = nil
	n.cluster.mu.Unlock()
	if host == nil {
		return
	}
	if n.stop != nil {
		n.stop()
		n.running.Wait()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(n.cluster.t.Context()), waitMax)
	defer cancel()
	require.NoError(n.cluster.t, host.Stop(ctx))
	require.NoError(n.cluster.t, n.store.Close())
}

// bootstrap starts the first node.
func (c *cluster) bootstrap(data ...shards.ShardID) *testNode {
	c.t.Helper()
	n := c.open(nodeID(1), "n1", "", nil)
	require.NoError(c.t, startSystem(c, n, data...))
	n.run()
	return n
}

// startSystem starts the system shard on the first node, and writes the records of
// a new cluster.
func startSystem(c *cluster, n *testNode, data ...shards.ShardID) error {
	if err := n.host.StartReplica(shards.ReplicaSpec{Shard: shards.SystemShard, Replica: 1, First: true}); err != nil {
		return err
	}
	if err := n.host.WaitReady(c.ctx()); err != nil {
		return err
	}
	return n.catalog.EnsureCluster(c.ctx(), catalog.Bootstrap{ClusterID: clusterID, NodeID: n.id, Node: n.record(), DataShards: data})
}

// join starts a node that joins by way of another.
func (c *cluster) join(n, by *testNode) *testNode {
	c.t.Helper()
	answer, err := by.membership.Join(c.ctx(), placement.Joining{ClusterID: clusterID, NodeID: n.id, Node: n.record()})
	require.NoError(c.t, err)
	n.directory.Seed(answer)
	n.run()
	return n
}

func (c *cluster) ctx() context.Context {
	ctx, cancel := context.WithTimeout(c.t.Context(), waitMax)
	c.t.Cleanup(cancel)
	return ctx
}

// hello asks the node whose peer address it is.
func (c *cluster) hello(ctx context.Context, address string, req *internalv1.HelloRequest) (*internalv1.HelloResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		if n.record().GetPeerAddress() == address {
			return n.membership.Hello(ctx, req)
		}
	}
	return nil, errors.New("nobody answers")
}

// hosts is the hosts of the nodes that run.
func (c *cluster) hosts() []*shards.Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*shards.Host
	for _, n := range c.nodes {
		list = append(list, n.host)
	}
	return list
}

// try asks one host after the other until one can answer.
func try[A any](ctx context.Context, c *cluster, ask func(*shards.Host) (A, error)) (A, error) {
	for {
		last := shards.ErrStopping
		for _, h := range c.hosts() {
			answer, err := ask(h)
			notLeader := errors.As(err, new(*shards.NotLeaderError))
			if !notLeader && !errors.Is(err, shards.ErrShardNotFound) && !errors.Is(err, shards.ErrStopping) {
				return answer, err
			}
			last = err
		}
		select {
		case <-ctx.Done():
			var none A
			return none, last
		case <-time.After(waitTick):
		}
	}
}

// Propose implements catalog.Host.
func (c *cluster) Propose(ctx context.Context, shard shards.ShardID, tenant tenancy.TenantID, command *internalv1.Command) (proto.Message, error) {
	return try(ctx, c, func(h *shards.Host) (proto.Message, error) { return h.Propose(ctx, shard, tenant, command) })
}

// Query implements catalog.Host.
func (c *cluster) Query(ctx context.Context, shard shards.ShardID, ns tenancy.NamespaceID, k shards.Consistency, request proto.Message) (proto.Message, error) {
	return try(ctx, c, func(h *shards.Host) (proto.Message, error) { return h.Query(ctx, shard, ns, k, request) })
}

// Watch implements catalog.Host.
func (c *cluster) Watch(ctx context.Context, shard shards.ShardID, owner watch.Owner, spec watch.Spec) iter.Seq2[watch.Answer, error] {
	for _, h := range c.hosts() {
		if h.HasReplica(shard) {
			return h.Watch(ctx, shard, owner, spec)
		}
	}
	return func(yield func(watch.Answer, error) bool) { yield(watch.Answer{}, shards.ErrShardNotFound) }
}

// settled waits until each shard has three voters on these nodes, in the records
// and in the Raft groups.
func (c *cluster) settled(on *testNode, names ...string) {
	c.t.Helper()
	state := ""
	if !eventually(c.t, func() bool {
		state = c.unsettled(on, names)
		return state == ""
	}) {
		require.Fail(c.t, "it does not settle", state)
	}
}

// eventually waits until a condition holds; false if it does not in time.
func eventually(t *testing.T, holds func() bool) bool {
	t.Helper()
	deadline := time.Now().Add(waitMax)
	for time.Now().Before(deadline) {
		if holds() {
			return true
		}
		<-time.After(waitTick)
	}
	return false
}

func (c *cluster) unsettled(on *testNode, names []string) string {
	records := on.directory.Records()
	for id, placed := range records.GetPlacements() {
		var have []string
		for _, r := range placed.GetReplicas() {
			if r.GetState() != internalv1.ReplicaState_REPLICA_STATE_VOTER {
				return fmt.Sprintf("shard %d: %v", id, placed)
			}
			have = append(have, records.GetNodes()[r.GetNodeId()].GetName())
		}
		slices.Sort(have)
		if !slices.Equal(have, names) {
			return fmt.Sprintf("shard %d has %v, not %v", id, have, names)
		}
		members, err := try(c.ctx(), c, func(h *shards.Host) ([]shards.Member, error) {
			if !h.HasReplica(shards.ShardID(id)) {
				return nil, shards.ErrShardNotFound
			}
			ctx, cancel := context.WithTimeout(c.ctx(), time.Second)
			defer cancel()
			return h.Membership(ctx, shards.ShardID(id))
		})
		if err != nil || len(members) != len(names) {
			return fmt.Sprintf("the group of shard %d has %v (%v)", id, members, err)
		}
	}
	return ""
}

// A cluster of one node becomes one of three by itself, moves off a node that
// dies onto one that is free, and takes a wiped node back under its name.
func TestClusterGrowsAndHeals(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.bootstrap(2, 3, 4)
	require.NoError(t, n1.catalog.CreateTenant(c.ctx(), "t"))
	_, err := n1.catalog.CreateNamespaces(c.ctx(), "t", []string{"a"}, tenancy.Limits{}.WithDefaults())
	require.NoError(t, err)
	n2 := c.join(c.open(nodeID(2), "n2", "", nil), n1)
	n3 := c.join(c.open(nodeID(3), "n3", "", nil), n2)
	c.settled(n3, "n1", "n2", "n3")
	require.Eventually(t, func() bool {
		leads := map[string]int{}
		for _, placed := range n2.directory.Records().GetPlacements() {
			leads[placed.GetLeaderNodeId()]++
		}
		return len(leads) == 3 && leads[""] == 0
	}, waitMax, waitTick, "each node leads something")
	for id, placed := range n2.directory.Records().GetPlacements() {
		require.Eventually(t, func() bool {
			leader, _ := n1.host.Leader(shards.ShardID(id))
			return leader == placed.GetLeaderNodeId()
		}, waitMax, waitTick, "shard %d is led by who should", id)
	}

	n1.kill()
	n4 := c.join(c.open(nodeID(4), "n4", "", nil), n2)
	c.settled(n4, "n2", "n3", "n4")

	n2.kill()
	wiped := c.join(c.open(nodeID(5), "n2", "", nil), n3)
	c.settled(wiped, "n2", "n3", "n4")
	require.Equal(t, internalv1.NodeState_NODE_STATE_REMOVED, wiped.directory.Node(n2.id).GetState())
	_, err = wiped.catalog.Route(c.ctx(), "t", "a")
	require.NoError(t, err)
}
