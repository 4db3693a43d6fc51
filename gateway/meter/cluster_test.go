package meter_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway/meter"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/tenancy"
)

// cluster is meters that reach each other over a network in memory, for use within
// a synctest bubble.
type cluster struct {
	t *testing.T
	// latency is how long a message takes, and loss how many of a hundred get lost.
	latency time.Duration
	loss    int
	random  *rand.Rand

	mu      sync.Mutex
	meters  map[string]*meter.Meter
	names   []string
	dead    map[string]bool
	records *internalv1.Directory
	asks    int // messages
}

func newCluster(t *testing.T, names ...string) *cluster {
	t.Helper()
	c := &cluster{
		t: t, latency: time.Millisecond, meters: make(map[string]*meter.Meter), dead: make(map[string]bool),
		random: rand.New(rand.NewPCG(1, 2)), names: names,
	}
	c.tell()
	for _, name := range names {
		c.start(name)
	}
	return c
}

// start starts a node, or starts it again.
func (c *cluster) start(name string) {
	m := meter.New(meter.Config{NodeID: name, Remote: network{c, name}, Directory: c}, prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(c.t.Context())
	c.t.Cleanup(cancel)
	go func() { _ = m.Run(ctx) }()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.meters[name] = m
}

// tell publishes which nodes live.
func (c *cluster) tell(dead ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	records := &internalv1.Directory{Nodes: make(map[string]*internalv1.NodeRecord)}
	for _, name := range c.names {
		records.Nodes[name] = &internalv1.NodeRecord{PeerAddress: name, State: internalv1.NodeState_NODE_STATE_ACTIVE}
	}
	for _, name := range dead {
		records.Nodes[name].DeadSinceMs = 1
	}
	c.records = records
}

// Records implements meter.Directory.
func (c *cluster) Records() *internalv1.Directory {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.records
}

// messages is how many asks there were.
func (c *cluster) messages() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asks
}

func (c *cluster) kill(name string, dead bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead[name] = dead
}

// home finds which node is the home of a tenant.
func (c *cluster) home(tenant tenancy.TenantID) string {
	return meter.HomeOf(c.meters[c.names[0]], tenant)
}

// network is how one node reaches the others.
type network struct {
	*cluster
	from string
}

// Take implements meter.Remote.
func (n network) Take(ctx context.Context, node string, request *internalv1.TakeRequest) (*internalv1.TakeResponse, error) {
	if err := n.carry(ctx, node); err != nil {
		return nil, err
	}
	n.mu.Lock()
	m := n.meters[node]
	n.asks++
	n.mu.Unlock()
	response, err := m.Server().Take(ctx, request)
	if err != nil {
		return nil, err
	}
	return response, n.carry(ctx, node)
}

// carry carries one message, or loses it.
func (n network) carry(ctx context.Context, node string) error {
	n.mu.Lock()
	dead, lost, latency := n.dead[node] || n.dead[n.from], n.random.IntN(100) < n.loss, n.latency
	n.mu.Unlock()
	if dead {
		return errors.New("connection refused")
	}
	if lost {
		<-ctx.Done()
		return ctx.Err()
	}
	select {
	case <-time.After(latency):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// principal is of a tenant with limits of its requests and bytes.
func principal(tenant string, limits tenancy.Limits) *tenancy.Principal {
	return &tenancy.Principal{Tenant: tenancy.TenantID(tenant), Limits: limits.WithDefaults()}
}

// send sends so many requests to a node, and returns how many are let in.
func (c *cluster) send(p *tenancy.Principal, node string, requests int) (admitted int) {
	c.t.Helper()
	c.mu.Lock()
	m := c.meters[node]
	c.mu.Unlock()
	tenant, err := m.Tenant(p)
	require.NoError(c.t, err)
	for range requests {
		err := tenant.Admit(1, 100)
		if err == nil {
			admitted++
			continue
		}
		var refused *tenancy.QuotaError
		require.ErrorAs(c.t, err, &refused)
		require.GreaterOrEqual(c.t, refused.RetryAfter, 10*time.Millisecond)
		require.Less(c.t, refused.RetryAfter, 2*time.Minute)
	}
	return admitted
}

// step is how finely traffic is sent.
const step = 5 * time.Millisecond

// run sends traffic for a while: so many requests a second to each node as demand
// says. It returns how many were let in, by node.
func (c *cluster) run(p *tenancy.Principal, d time.Duration, demand func(at time.Duration, node int) float64) (admitted []int) {
	c.t.Helper()
	admitted = make([]int, len(c.names))
	rest := make([]float64, len(c.names))
	for at := time.Duration(0); at < d; at += step {
		for i, name := range c.names {
			rest[i] += demand(at, i) * step.Seconds()
			n := int(rest[i])
			rest[i] -= float64(n)
			admitted[i] += c.send(p, name, n)
		}
		<-time.After(step)
	}
	return admitted
}

func sum(list []int) (n int) {
	for _, x := range list {
		n += x
	}
	return n
}

// tenantsByHome is a tenant for each home.
func (c *cluster) tenantOf(home string) string {
	c.t.Helper()
	for i := range 1000 {
		name := fmt.Sprintf("tenant-%d", i)
		if c.home(tenancy.TenantID(name)) == home {
			return name
		}
	}
	require.FailNow(c.t, "no tenant has its home there")
	return ""
}
