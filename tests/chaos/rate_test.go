package chaos

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	"github.com/flotillakv/flotilla/tests/process"
)

// http2Client is a client with a connection of its own.
func http2Client() *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: protocols}}
}

// nodeClients are a client of each node, which does not try again by itself.
func nodeClients(c *process.Cluster) (clients []flotillav1connect.KVServiceClient) {
	for i := range c.Nodes {
		clients = append(clients, flotillav1connect.NewKVServiceClient(http2Client(), c.APIURLs(i)[0], connect.WithInterceptors(process.Bearer(c.Info.APIKey))))
	}
	return clients
}

// setLimits gives the tenant limits of its own, as an operator.
func setLimits(t *testing.T, c *process.Cluster, limits ...string) {
	t.Helper()
	args := []string{"tenant", "set-limits", c.Info.Tenant, "--ops-url", c.OpsURL(0), "--operator-token-file", c.Nodes[0].DataDir + "/operator.token"}
	for _, limit := range limits {
		args = append(args, "--limit", limit)
	}
	result := c.Home.Run(t, args...)
	require.Zero(t, result.Code, result.Stderr)
}

// waitLimited waits until all nodes know a rate that the tenant has.
func waitLimited(t *testing.T, c *process.Cluster, requestsPerSecond uint64) {
	t.Helper()
	for node := range c.Nodes {
		tenant := tenantsAt(c, node, c.Info.APIKey)
		require.Eventually(t, func() bool {
			known, err := tenant.GetLimits(t.Context(), &flotillav1.GetLimitsRequest{})
			return err == nil && known.GetLimits().GetRequestsPerSecond() == requestsPerSecond
		}, time.Minute, 10*time.Millisecond, "n%d does not know the limits", node+1)
	}
}

// load is callers that send requests to nodes, in batches of ten.
type load struct {
	// at is to which node the next batch goes.
	at func() int

	admitted, refused atomic.Int64
}

const (
	batch = 10
	// batchesMax bounds what is not answered yet: on a machine that is too busy for
	// the rate less is sent, and all that is sent is answered in time.
	batchesMax = 64
)

// send sends so many requests a second for a while, spread over time.
func (l *load) send(t *testing.T, clients []flotillav1connect.KVServiceClient, perSecond int, d time.Duration) {
	t.Helper()
	var calls sync.WaitGroup
	defer calls.Wait()
	slots := make(chan struct{}, batchesMax)
	pause := time.NewTicker(time.Second * batch / time.Duration(perSecond))
	defer pause.Stop()
	for end := time.After(d); ; {
		select {
		case <-end:
			return
		case <-pause.C:
			select {
			case slots <- struct{}{}:
			default:
				continue
			}
			calls.Go(func() {
				defer func() { <-slots }()
				l.batch(t, clients[l.at()])
			})
		}
	}
}

func (l *load) batch(t *testing.T, client flotillav1connect.KVServiceClient) {
	t.Helper()
	request := &flotillav1.BatchRequest{}
	for range batch {
		request.Operations = append(request.Operations, &flotillav1.Operation{Operation: &flotillav1.Operation_Get{
			Get: &flotillav1.GetRequest{Key: []byte("key"), Serializable: true},
		}})
	}
	response, err := client.Batch(t.Context(), request)
	if err != nil {
		t.Errorf("batch: %v", err)
		return
	}
	for _, result := range response.GetResults() {
		switch result.GetError().GetInfo().GetReason() {
		case flotillav1.Reason_REASON_UNSPECIFIED:
			l.admitted.Add(1)
		case flotillav1.Reason_REASON_QUOTA_EXCEEDED:
			l.refused.Add(1)
		default:
			t.Errorf("an operation failed: %v", result.GetError())
		}
	}
}

// spendBurst sends until no more is let in than comes, for a minute at most: what follows
// tells whether it stays so.
func spendBurst(t *testing.T, clients []flotillav1connect.KVServiceClient, at func() int, rate int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		l := &load{at: at}
		l.send(t, clients, 10*rate, time.Second)
		if l.refused.Load() > 0 && l.admitted.Load() <= int64(rate)*11/10 {
			return
		}
	}
}

// TestRateHoldsOverNodes sends ten times a tenant's rate to three nodes: to one of
// them, now to this and now to that, and to all of them.
func TestRateHoldsOverNodes(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	const rate, seconds = 300, 10
	setLimits(t, c, "requests_per_second=300", "requests_burst=300")
	waitLimited(t, c, rate)
	clients := nodeClients(c)
	var turn atomic.Int64
	for name, at := range map[string]func() int{
		"one node": func() int { return 0 },
		"moving":   func() int { return int(time.Now().UnixMilli()/1500) % 3 },
		"evenly":   func() int { return int(turn.Add(1)) % 3 },
	} {
		t.Run(name, func(t *testing.T) { // one after the other: it is one tenant
			spendBurst(t, clients, at, rate)
			l := &load{at: at}
			begin := time.Now()
			l.send(t, clients, 10*rate, seconds*time.Second)
			allowed := rate * time.Since(begin).Seconds()
			t.Logf("%d of %d let in, %.0f allowed", l.admitted.Load(), l.admitted.Load()+l.refused.Load(), allowed)
			require.Less(t, float64(l.admitted.Load()), 1.05*allowed)
			// Where the callers do not get to send what they should, little has to be refused,
			// and nodes hardly get to run either, and are late to ask each other.
			if sent := l.admitted.Load() + l.refused.Load(); sent > 10*rate*seconds*8/10 {
				require.Greater(t, l.refused.Load(), l.admitted.Load())
				require.Greater(t, float64(l.admitted.Load()), 0.9*allowed)
			}
		})
	}
}
