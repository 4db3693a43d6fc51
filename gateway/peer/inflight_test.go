package peer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/peer"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/tenancy"
)

// deafHost answers the commands of tenants whose name does not begin with "loud", and
// keeps those of the others.
type deafHost struct {
	*host
	mu   sync.Mutex
	kept []*shards.Call
}

func (h *deafHost) Submit(_ shards.ShardID, call *shards.Call) error {
	if !strings.HasPrefix(string(call.Tenant), "loud") {
		go call.Done(machine.Result{Response: &flotillav1.PutResponse{}})
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = append(h.kept, call)
	return nil
}

func (h *deafHost) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.kept)
}

// answerAll answers what was kept, and returns it.
func (h *deafHost) answerAll() []*shards.Call {
	h.mu.Lock()
	kept := h.kept
	h.kept = nil
	h.mu.Unlock()
	for _, call := range kept {
		call.Done(machine.Result{Response: &flotillav1.PutResponse{}})
	}
	return kept
}

// settle waits until no more comes to the host, and returns how much did.
func (h *deafHost) settle(t *testing.T, p *pair) int {
	t.Helper()
	last := -1
	require.Eventually(t, func() bool {
		_, r := p.put("settled", "k") // it goes after what fits
		if !succeeds(r) {
			return false
		}
		now := h.count()
		still := now == last
		last = now
		return still
	}, waitMax, 20*time.Millisecond)
	return last
}

// succeeds tells whether the answer comes, and is no error. Unlike result it may be
// asked on any goroutine.
func succeeds(results <-chan machine.Result) bool {
	select {
	case r := <-results:
		return r.Err == nil
	case <-time.After(waitMax):
		return false
	}
}

func newDeafPair(t *testing.T, options ...option) (*pair, *deafHost) {
	t.Helper()
	deaf := &deafHost{host: newHost()}
	deaf.setQuery(echo([]byte("v")))
	p := newPair(t, append(options, func(_ *peer.PoolConfig, server *peer.ServerConfig) { server.Local = deaf })...)
	return p, deaf
}

// flood submits commands of a tenant, until its line is full or there are so many. Their
// results come on the channel.
func (p *pair) flood(tenant tenancy.TenantID, n int, value []byte) (submitted int, results chan machine.Result) {
	p.t.Helper()
	results = make(chan machine.Result, n)
	encoded, err := proto.Marshal(&internalv1.Command{NamespaceId: 7, Epoch: 1, Operation: &internalv1.Command_Put{
		Put: &flotillav1.PutRequest{Key: []byte("k"), Value: value},
	}})
	require.NoError(p.t, err)
	for submitted < n {
		call := &shards.Call{
			Tenant: tenant, Command: encoded, Deadline: time.Now().Add(time.Hour),
			Done: func(r machine.Result) { results <- r },
		}
		if p.pool.Submit(there, shard, call) != nil {
			break
		}
		submitted++
	}
	return submitted, results
}

// quietly sees that a tenant that has nothing in flight is answered.
func (p *pair) quietly() {
	p.t.Helper()
	for _, tenant := range []tenancy.TenantID{"quiet", tenancy.SystemTenant} {
		_, r := p.put(tenant, "k")
		require.NoError(p.t, result(p.t, r).Err)
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), waitMax)
	defer cancel()
	got, err := p.get(ctx, "a")
	require.NoError(p.t, err)
	require.Equal(p.t, "a=v", got)
}

// A tenant with 10,000 operations that are not answered has its part in flight, and
// holds nobody else up. All go, in their order, when they may.
func TestUnansweredOperationsHoldUpTheirOwnTenantAlone(t *testing.T) {
	t.Parallel()
	p, deaf := newDeafPair(t)
	const n = 10_000
	submitted, results := p.flood("loud", n, nil)
	require.Equal(t, n, submitted)
	require.Equal(t, 8192, deaf.settle(t, p))
	p.quietly()
	for answered := 0; answered < n; {
		answered += len(deaf.answerAll())
		p.quietly()
	}
	for range n {
		require.NoError(t, result(t, results).Err)
	}
	p.flood("loud", n, nil)
	require.Equal(t, 8192, deaf.settle(t, p), "all of it was given back")
}

// However many tenants are loud, in operations and in bytes, they leave room for others.
func TestManyLoudTenantsHoldUpNobody(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		tenants, n int
		value      []byte
	}{
		{"operations", 40, 100, nil},
		{"bytes", 40, 8, bytes.Repeat([]byte("v"), 256<<10)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, deaf := newDeafPair(t, func(pool *peer.PoolConfig, _ *peer.ServerConfig) {
				pool.InFlightMax, pool.InFlightBytesMax = 1000, 40<<20
			})
			submitted := 0
			for i := range test.tenants {
				n, _ := p.flood(tenancy.TenantID(fmt.Sprint("loud", i)), test.n, test.value)
				submitted += n
			}
			kept := deaf.settle(t, p)
			require.Less(t, kept, submitted, "some wait")
			p.quietly()
			for answered := 0; answered < submitted; {
				answered += len(deaf.answerAll())
				p.quietly()
			}
		})
	}
}

// A stream that breaks with much in flight ends it all: what was sent is unknown, and
// what was not surely was not applied.
func TestABrokenStreamEndsAllThatIsInFlight(t *testing.T) {
	t.Parallel()
	p, deaf := newDeafPair(t)
	const n = 9000
	_, results := p.flood("loud", n, nil)
	sent := deaf.settle(t, p)
	p.stop()
	unknown := 0
	for range n {
		r := result(t, results)
		var unreachable *shards.UnreachableError
		require.ErrorAs(t, r.Err, &unreachable)
		if errors.Is(r.Err, shards.ErrOutcomeUnknown) {
			unknown++
		}
	}
	require.Equal(t, sent, unknown)
	p.serve(peer.ServerConfig{Local: deaf})
	require.Eventually(t, func() bool {
		_, r := p.put("quiet", "k")
		return succeeds(r)
	}, waitMax, time.Millisecond)
	deaf.mu.Lock()
	deaf.kept = nil
	deaf.mu.Unlock()
	p.flood("loud", n, nil)
	require.Equal(t, sent, deaf.settle(t, p), "nothing of the stream that broke counts")
	p.quietly()
}

// BenchmarkLoneTenant is a tenant that has a link for itself, and so many commands in
// flight at a time.
func BenchmarkLoneTenant(b *testing.B) {
	for _, callers := range []int{1, 64, 1024, 8000} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			p := newPair(b, func(_ *peer.PoolConfig, server *peer.ServerConfig) { server.Local = echoHost{newHost()} })
			encoded, err := proto.Marshal(command("key"))
			require.NoError(b, err)
			free := make(chan struct{}, callers)
			done := func(r machine.Result) {
				if r.Err != nil {
					b.Error(r.Err)
				}
				<-free
			}
			b.ReportAllocs()
			for b.Loop() {
				free <- struct{}{}
				require.NoError(b, p.pool.Submit(there, shard, &shards.Call{Tenant: "t", Command: encoded, Done: done}))
			}
			for range callers {
				free <- struct{}{}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
		})
	}
}

// echoHost answers all commands at once.
type echoHost struct{ *host }

func (echoHost) Submit(_ shards.ShardID, call *shards.Call) error {
	call.Done(machine.Result{Response: &flotillav1.PutResponse{Revision: 7}})
	return nil
}
