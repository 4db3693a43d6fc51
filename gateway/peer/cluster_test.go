package peer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway/peer"
	"github.com/flotillakv/flotilla/gateway/route"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/shardstest"
	"github.com/flotillakv/flotilla/shards/store"
	"github.com/flotillakv/flotilla/shards/watch"
)

// markers forget with the test.
type markers struct{}

func (markers) HasReplica(shards.ShardID, uint64) bool     { return false }
func (markers) MarkReplica(shards.ShardID, uint64) error   { return nil }
func (markers) UnmarkReplica(shards.ShardID, uint64) error { return nil }

// cluster is nodes of real shards that reach each other over loopback.
type cluster struct {
	t       *testing.T
	network shardstest.Network

	mu    sync.Mutex
	nodes map[string]*node
	// only is the one node that the directory tells of, if set.
	only string
}

// node is one of them. Without a host it only routes.
type node struct {
	id      string
	host    *shards.Host
	address string
	pool    *peer.Pool
	router  *route.Router
	stop    func()
}

func (c *cluster) address(id string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.nodes[id]; n != nil {
		return n.address
	}
	return ""
}

// Hosts implements route.Directory: all nodes that have a host, dead ones too.
func (c *cluster) Hosts(shards.ShardID) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.only != "" {
		return []string{c.only}
	}
	var ids []string
	for id, n := range c.nodes {
		if n.host != nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, nodes: make(map[string]*node)}
	n1, n2, n3 := c.start("00000000-0000-4000-8000-000000000001"), c.start("00000000-0000-4000-8000-000000000002"), c.start("00000000-0000-4000-8000-000000000003")
	require.NoError(t, n1.host.StartReplica(shards.ReplicaSpec{Shard: shard, Replica: 1, First: true}))
	require.NoError(t, n1.host.WaitReady(c.ctx()))
	for i, n := range []*node{n2, n3} {
		replica := uint64(2 + i)
		require.NoError(t, n1.host.AddNonVoting(c.ctx(), shard, replica, n.id))
		require.NoError(t, n.host.StartReplica(shards.ReplicaSpec{Shard: shard, Replica: replica}))
		require.NoError(t, n.host.Current(c.ctx(), shard))
		require.NoError(t, n1.host.Promote(c.ctx(), shard, replica, n.id))
	}
	return c
}

func (c *cluster) ctx() context.Context {
	ctx, cancel := context.WithTimeout(c.t.Context(), waitMax)
	c.t.Cleanup(cancel)
	return ctx
}

// start starts a node with shards.
func (c *cluster) start(id string) *node {
	c.t.Helper()
	dir := c.t.TempDir()
	st, err := store.Open(store.Config{Dir: dir + "/state"})
	require.NoError(c.t, err)
	host, err := shards.Start(c.t.Context(), shards.Config{NodeID: id, Dir: dir + "/raft", Transport: c.network.Node(id)},
		st, markers{}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler), func(err error) { c.t.Errorf("halted: %v", err) })
	require.NoError(c.t, err)
	server := peer.NewServer(peer.ServerConfig{Local: host, DrainMax: 200 * time.Millisecond}, prometheus.NewRegistry())
	listener, err := new(net.ListenConfig).Listen(c.t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(c.t, err)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	n := c.join(&node{id: id, host: host, address: listener.Addr().String()})
	var once sync.Once
	n.stop = func() {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), waitMax)
			defer cancel()
			server.Stop(ctx)
			serving.Wait()
			c.network.Cut(n.id, true) // the engine does not bear messages while it closes
			if err := errors.Join(host.Stop(ctx), st.Close()); err != nil {
				c.t.Errorf("stop: %v", err)
			}
		})
	}
	c.t.Cleanup(n.stop)
	return n
}

// join gives a node its pool and its router.
func (c *cluster) join(n *node) *node {
	n.pool = peer.NewPool(c.t.Context(), peer.PoolConfig{Address: c.address})
	c.t.Cleanup(n.pool.Close)
	cfg := route.RouterConfig{NodeID: n.id, Remote: n.pool, Directory: c}
	if n.host != nil {
		cfg.Local = n.host
	}
	n.router = route.NewRouter(cfg)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[n.id] = n
	return n
}

// tell has the directory tell of one node only, or of all.
func (c *cluster) tell(only string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.only = only
}

func (c *cluster) leader() *node {
	c.t.Helper()
	for deadline := time.Now().Add(waitMax); time.Now().Before(deadline); {
		for _, n := range c.nodes {
			if n.host != nil && n.host.Leads(shard) {
				return n
			}
		}
	}
	c.t.Fatal("nobody leads")
	return nil
}

func put(ctx context.Context, r *route.Router, key, requestID string) (uint64, error) {
	c := command(key)
	c.GetPut().RequestId = requestID
	response, err := r.Propose(ctx, shard, "t", c)
	if err != nil {
		return 0, err
	}
	answer, ok := response.(*flotillav1.PutResponse)
	if !ok {
		return 0, fmt.Errorf("the answer is a %T", response)
	}
	return answer.GetRevision(), nil
}

func read(ctx context.Context, r *route.Router, key string, c shards.Consistency) (*flotillav1.GetResponse, error) {
	response, err := r.Query(ctx, shard, 7, c, &flotillav1.GetRequest{Key: []byte(key)})
	if err != nil {
		return nil, err
	}
	answer, ok := response.(*flotillav1.GetResponse)
	if !ok {
		return nil, fmt.Errorf("the answer is a %T", response)
	}
	return answer, nil
}

// What is written through one node is read through any other, also through one
// that has no replicas.
func TestAnyNodeServesAnyShard(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	edge := c.join(&node{id: "edge"})
	for i, n := range c.nodes {
		revision, err := put(c.ctx(), n.router, "key-"+i, "")
		require.NoError(t, err)
		for _, other := range c.nodes {
			got, err := read(c.ctx(), other.router, "key-"+i, shards.Linearizable)
			require.NoError(t, err)
			require.Equal(t, revision, got.GetKv().GetModRevision())
		}
	}
	_, err := read(c.ctx(), edge.router, "key-edge", shards.Serializable)
	require.NoError(t, err)
	response, err := edge.router.Query(c.ctx(), shard, 7, shards.Linearizable, &internalv1.NamespaceStateRequest{})
	require.NoError(t, err)
	state, ok := response.(*internalv1.NamespaceState)
	require.True(t, ok)
	require.Equal(t, uint64(len(c.nodes)), state.GetKeys())
}

// Writers and readers on nodes that live on notice nothing of the end of the
// leader's.
func TestCallersOutliveTheLeader(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	edge := c.join(&node{id: "edge"})
	leader := c.leader()
	ctx, cancel := context.WithTimeout(t.Context(), 2*waitMax)
	defer cancel()
	const writes = 60
	half := make(chan struct{})
	var callers sync.WaitGroup
	for _, n := range c.nodes {
		if n == leader {
			continue
		}
		callers.Go(func() {
			for i := range writes {
				if i == writes/2 && n == edge {
					close(half)
				}
				key := fmt.Sprintf("%s/%d", n.id, i)
				one, cancel := context.WithTimeout(ctx, waitMax)
				if _, err := put(one, n.router, key, key); err != nil {
					t.Errorf("put %s: %v", key, err)
				}
				if got, err := read(one, n.router, key, shards.Linearizable); err != nil || got.GetKv() == nil {
					t.Errorf("get %s: %v, %v", key, got, err)
				}
				cancel()
			}
		})
	}
	<-half
	c.network.Cut(leader.id, true)
	leader.stop()
	callers.Wait()
	response, err := edge.router.Query(c.ctx(), shard, 7, shards.Linearizable, &internalv1.NamespaceStateRequest{})
	require.NoError(t, err)
	state, ok := response.(*internalv1.NamespaceState)
	require.True(t, ok)
	require.Equal(t, uint64(3*writes), state.GetKeys(), "each write took effect once")
	require.Equal(t, uint64(3*writes+1), state.GetRevision())
}

// A watch on a node without replicas shows every change once, in order, over the
// end of the node that serves it.
func TestWatchOutlivesTheNodeThatServesIt(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	edge := c.join(&node{id: "edge"})
	ctx, cancel := context.WithTimeout(t.Context(), 3*waitMax)
	defer cancel()
	const writes = 300
	serving := c.nodes["00000000-0000-4000-8000-000000000001"]
	c.tell(serving.id)
	began, seen := make(chan struct{}), make(chan error, 1)
	go func() {
		next := uint64(2)
		for a, err := range edge.router.Watch(ctx, shard, watch.Owner{Tenant: "t", Namespace: 7}, watch.Spec{From: 2}) {
			if err != nil {
				seen <- err
				return
			}
			if a.Created {
				close(began)
			}
			for _, e := range a.Events {
				if uint64(e.Revision) != next {
					seen <- fmt.Errorf("revision %d instead of %d", e.Revision, next)
					return
				}
				if next++; next == writes+2 {
					seen <- nil
					return
				}
			}
		}
	}()
	<-began
	c.tell("")
	for i := range writes {
		if i == writes/3 {
			c.network.Cut(serving.id, true)
			serving.stop()
		}
		_, err := put(ctx, edge.router, fmt.Sprint(i), fmt.Sprint("r", i))
		require.NoError(t, err)
	}
	require.NoError(t, <-seen)
}

// A watch on this node's replica goes on elsewhere when that is dropped.
func TestWatchOutlivesItsReplica(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1, n2 := c.nodes["00000000-0000-4000-8000-000000000001"], c.nodes["00000000-0000-4000-8000-000000000002"]
	ctx, cancel := context.WithTimeout(t.Context(), 2*waitMax)
	defer cancel()
	const writes = 100
	began, seen := make(chan struct{}), make(chan error, 1)
	go func() {
		next := uint64(2)
		for a, err := range n2.router.Watch(ctx, shard, watch.Owner{Tenant: "t", Namespace: 7}, watch.Spec{}) {
			if err != nil {
				seen <- err
				return
			}
			if a.Created {
				close(began)
			}
			for _, e := range a.Events {
				if uint64(e.Revision) != next {
					seen <- fmt.Errorf("revision %d instead of %d", e.Revision, next)
					return
				}
				if next++; next == writes+2 {
					seen <- nil
					return
				}
			}
		}
	}()
	<-began
	for i := range writes {
		if i == writes/2 {
			require.NoError(t, c.leader().host.RemoveReplica(c.ctx(), shard, 2))
			require.NoError(t, n2.host.DropReplica(c.ctx(), shard, 2))
		}
		_, err := put(ctx, n1.router, fmt.Sprint(i), "")
		require.NoError(t, err)
	}
	require.NoError(t, <-seen)
	_, err := put(ctx, n2.router, "last", "")
	require.NoError(t, err, "and so do its writers")
}
