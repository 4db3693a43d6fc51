package peer_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/peer"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

const (
	waitMax = 20 * time.Second
	there   = "node-there"
	shard   = shards.ShardID(2)
)

// host is the shards of the node that is asked. It notes what reaches it, and
// answers when the test says so, unless it answers at once.
type host struct {
	mu     sync.Mutex
	begun  []string // tenant/key
	calls  []*shards.Call
	came   chan struct{} // a token for each command
	answer func(*internalv1.Command) machine.Result
	refuse error
	query  func(ctx context.Context, b *shards.QueryBatch) error
	hub    func() (*watch.Hub, error)
}

func newHost() *host { return &host{came: make(chan struct{}, 100_000)} }

func (h *host) Submit(_ shards.ShardID, call *shards.Call) error {
	var c internalv1.Command
	if err := proto.Unmarshal(call.Command, &c); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuse != nil {
		return h.refuse
	}
	h.begun = append(h.begun, string(call.Tenant)+"/"+string(c.GetPut().GetKey()))
	if h.answer != nil {
		r := h.answer(&c)
		go call.Done(r)
	} else {
		h.calls = append(h.calls, call)
	}
	h.came <- struct{}{}
	return nil
}

func (h *host) QueryBatch(ctx context.Context, _ shards.ShardID, b *shards.QueryBatch) error {
	h.mu.Lock()
	query := h.query
	h.mu.Unlock()
	return query(ctx, b)
}

func (h *host) Watches(shards.ShardID) (*watch.Hub, error)    { return h.hub() }
func (h *host) Current(context.Context, shards.ShardID) error { return nil }
func (h *host) Leads(shards.ShardID) bool                     { return false }

func (h *host) setQuery(query func(ctx context.Context, b *shards.QueryBatch) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.query = query
}

func (h *host) seen() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.begun...)
}

// wait waits until n more commands came.
func (h *host) wait(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-h.came:
		case <-time.After(waitMax):
			t.Fatal("the command does not come")
		}
	}
}

// done answers the oldest command that is not answered.
func (h *host) done(r machine.Result) {
	h.mu.Lock()
	call := h.calls[0]
	h.calls = h.calls[1:]
	h.mu.Unlock()
	call.Done(r)
}

// echo answers each query with its own key, as a fake of a state does.
func echo(value []byte) func(ctx context.Context, b *shards.QueryBatch) error {
	return func(ctx context.Context, b *shards.QueryBatch) error {
		end, err := b.Begin(ctx)
		if err != nil {
			return err
		}
		defer end()
		for i := range b.Queries {
			if err := b.Room(ctx, i); err != nil {
				b.Answer(i, nil, err)
				continue
			}
			get, _ := b.Queries[i].Request.(*flotillav1.GetRequest)
			b.Answer(i, &flotillav1.GetResponse{Kv: &flotillav1.KeyValue{Key: get.GetKey(), Value: value}}, nil)
		}
		return nil
	}
}

// pair is a node that asks, and one that is asked.
type pair struct {
	t       testing.TB
	host    *host
	pool    *peer.Pool
	server  *peer.Server
	stop    func()
	mu      sync.Mutex
	address string
}

type option func(*peer.PoolConfig, *peer.ServerConfig)

func newPair(tb testing.TB, options ...option) *pair {
	tb.Helper()
	p := &pair{t: tb, host: newHost()}
	pool := peer.PoolConfig{Address: func(node string) string {
		p.mu.Lock()
		defer p.mu.Unlock()
		if node != there {
			return ""
		}
		return p.address
	}}
	server := peer.ServerConfig{Local: p.host, DrainMax: 500 * time.Millisecond}
	for _, o := range options {
		o(&pool, &server)
	}
	p.serve(server)
	p.pool = peer.NewPool(tb.Context(), pool)
	tb.Cleanup(p.pool.Close)
	return p
}

// serve serves the host at a new address.
func (p *pair) serve(cfg peer.ServerConfig) {
	p.t.Helper()
	listener, err := new(net.ListenConfig).Listen(p.t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(p.t, err)
	p.mu.Lock()
	p.address = listener.Addr().String()
	p.mu.Unlock()
	server := peer.NewServer(cfg, prometheus.NewRegistry())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); err != nil {
			p.t.Errorf("serve: %v", err)
		}
	})
	var once sync.Once
	p.server = server
	p.stop = func() {
		once.Do(func() {
			server.Stop(context.WithoutCancel(p.t.Context()))
			serving.Wait()
		})
	}
	p.t.Cleanup(p.stop)
}

func command(key string) *internalv1.Command {
	return &internalv1.Command{NamespaceId: 7, Epoch: 1, Operation: &internalv1.Command_Put{
		Put: &flotillav1.PutRequest{Key: []byte(key), Value: []byte("v")},
	}}
}

// put submits a put; its result comes on the channel.
func (p *pair) put(tenant tenancy.TenantID, key string) (*shards.Call, <-chan machine.Result) {
	p.t.Helper()
	encoded, err := proto.Marshal(command(key))
	require.NoError(p.t, err)
	results := make(chan machine.Result, 2)
	call := &shards.Call{Tenant: tenant, Command: encoded, Done: func(r machine.Result) { results <- r }}
	if err := p.pool.Submit(there, shard, call); err != nil {
		results <- machine.Result{Err: err}
	}
	return call, results
}

func result(tb testing.TB, results <-chan machine.Result) machine.Result {
	tb.Helper()
	select {
	case r := <-results:
		return r
	case <-time.After(waitMax):
		tb.Fatal("no answer comes")
		return machine.Result{}
	}
}

func getQuery(key string) shards.Query {
	return shards.Query{Namespace: 7, Request: &flotillav1.GetRequest{Key: []byte(key)}}
}

func (p *pair) get(ctx context.Context, key string) (string, error) {
	response, err := shards.Ask(ctx, onNode{p.pool}, shard, "t", shards.Linearizable, getQuery(key))
	if err != nil {
		return "", err
	}
	got, ok := response.(*flotillav1.GetResponse)
	if !ok {
		return "", fmt.Errorf("the answer is a %T", response)
	}
	return string(got.GetKv().GetKey()) + "=" + string(got.GetKv().GetValue()), nil
}

// onNode asks the one other node.
type onNode struct{ pool *peer.Pool }

func (n onNode) QueryBatch(ctx context.Context, shard shards.ShardID, b *shards.QueryBatch) error {
	return n.pool.QueryBatch(ctx, there, shard, b)
}

func TestCommandsAndQueriesAreAnswered(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.host.setQuery(echo([]byte("w")))
	_, first := p.put("t", "a")
	_, second := p.put("t", "b")
	p.host.wait(t, 2)
	require.Equal(t, []string{"t/a", "t/b"}, p.host.seen())
	got, err := p.get(t.Context(), "c")
	require.NoError(t, err)
	require.Equal(t, "c=w", got, "nothing waits for the commands")
	p.host.done(machine.Result{Response: &flotillav1.PutResponse{Revision: 9}})
	p.host.done(machine.Result{Err: errors.New("secret")})
	r := result(t, first)
	require.NoError(t, r.Err)
	put, ok := r.Response.(*flotillav1.PutResponse)
	require.True(t, ok)
	require.Equal(t, uint64(9), put.GetRevision())
	require.ErrorContains(t, result(t, second).Err, "node node-there failed, kind 0: secret")
}

// TestConnectionsLeaveFromTheSource looks at where a connection comes from.
func TestConnectionsLeaveFromTheSource(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("this system has one loopback address")
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	source := net.IPv4(127, 0, 0, 2)
	pool := peer.NewPool(t.Context(), peer.PoolConfig{
		Address: func(string) string { return listener.Addr().String() }, Source: source,
	})
	defer pool.Close()
	call := &shards.Call{Tenant: "a", Done: func(machine.Result) {}}
	require.NoError(t, pool.Submit(there, 1, call))
	conn, err := listener.Accept()
	require.NoError(t, err)
	defer conn.Close()
	from, ok := conn.RemoteAddr().(*net.TCPAddr)
	require.True(t, ok)
	require.True(t, from.IP.Equal(source), "%s", from)
}
