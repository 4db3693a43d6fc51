package meter_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway/meter"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/tenancy"
)

// rate is that of the tenants, in requests a second; their burst is as large.
const rate = 200

func limits() tenancy.Limits { return tenancy.Limits{RequestsPerSecond: rate} }

// demand is requests a second at a moment to a node, of the nodes a, b and c.
type demand = func(at time.Duration, node int) float64

// at is all traffic to one node, in multiples of the rate.
func at(node int, rates float64) demand {
	return func(_ time.Duration, n int) float64 {
		if n == node {
			return rates * rate
		}
		return 0
	}
}

// moving is traffic that goes from node to node.
func moving(every time.Duration, rates float64) demand {
	return func(when time.Duration, n int) float64 { return at(int(when/every)%3, rates)(when, n) }
}

// spread is traffic to all nodes.
func spread(a, b, c float64) demand {
	return func(_ time.Duration, n int) float64 { return []float64{a, b, c}[n] * rate }
}

// TestRateHolds sends more than the rate over three gateways in many ways, over
// networks of all kinds: what is let in is the rate, give or take 5 %.
func TestRateHolds(t *testing.T) {
	t.Parallel()
	traffic := map[string]demand{
		"to one node":         at(0, 10),
		"to the home's node":  at(2, 10),
		"evenly, much":        spread(3.3, 3.3, 3.3),
		"evenly, little":      spread(0.4, 0.4, 0.4),
		"unevenly":            spread(5, 0.5, 1),
		"moving each second":  moving(time.Second, 10),
		"moving now and then": moving(2*time.Second, 2),
		"moving all the time": moving(130*time.Millisecond, 10),
		"in bursts": func(when time.Duration, n int) float64 {
			if when%time.Second >= 600*time.Millisecond {
				return 0
			}
			return at(int(when/time.Second)%3, 10)(when, n)
		},
	}
	networks := map[string]struct {
		latency time.Duration
		loss    int
	}{
		"fast": {time.Millisecond, 0}, "slow": {40 * time.Millisecond, 0}, "far": {80 * time.Millisecond, 0},
		"lossy": {10 * time.Millisecond, 10},
	}
	for how, demand := range traffic {
		for kind, network := range networks {
			t.Run(how+", over a "+kind+" network", func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					c := newCluster(t, "a", "b", "c")
					c.latency, c.loss = network.latency, network.loss
					p := principal(c.tenantOf("c"), limits())
					c.run(p, 3*time.Second, demand) // the burst is gone then
					const seconds = 24
					admitted := c.run(p, seconds*time.Second, demand)
					t.Logf("%v = %d, in %d messages", admitted, sum(admitted), c.messages())
					require.InEpsilon(t, seconds*rate, sum(admitted), 0.05)
				})
			})
		}
	}
}

// TestRateLetsInWhatIsLess sends less than the rate: nothing is refused, also where
// a gateway sees the tenant for the first time or after a pause.
func TestRateLetsInWhatIsLess(t *testing.T) {
	t.Parallel()
	for how, demand := range map[string]demand{
		"to one node": at(0, 0.9), "evenly": spread(0.3, 0.3, 0.3), "moving": moving(700*time.Millisecond, 0.9),
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, "a", "b", "c")
				p := principal(c.tenantOf("c"), limits())
				const seconds = 20
				require.InDelta(t, seconds*rate*0.9, sum(c.run(p, seconds*time.Second, demand)), 3)
			})
		})
	}
}

// TestBurstReachesOneNode has all of a burst come to a gateway that is not the home
// within a tenth of a second.
func TestBurstReachesOneNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "a", "b", "c")
		p := principal(c.tenantOf("c"), tenancy.Limits{RequestsPerSecond: 100, RequestsBurst: 5000})
		admitted := c.run(p, 200*time.Millisecond, at(0, 5000.0/rate*10))
		require.Greater(t, admitted[0], 4000)
		require.Less(t, admitted[0], 5100)
	})
}

// TestHomeIsAway has the home die, another one take over, and the first one come
// back.
func TestHomeIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "a", "b", "c")
		p := principal(c.tenantOf("c"), limits())
		overload := spread(4, 4, 0)
		c.run(p, 3*time.Second, overload)

		c.kill("c", true)
		const seconds = 10
		admitted := sum(c.run(p, seconds*time.Second, overload))
		require.InEpsilon(t, seconds*rate*2/3, admitted, 0.1, "two gateways have their part of the rate")

		c.tell("c")
		admitted = sum(c.run(p, seconds*time.Second, overload))
		require.InEpsilon(t, seconds*rate, admitted, 0.05, "another home goes on where the first one was")

		c.kill("c", false)
		c.start("c")
		c.tell()
		admitted = sum(c.run(p, seconds*time.Second, overload))
		require.InEpsilon(t, seconds*rate, admitted, 0.05, "and so does the first one")
	})
}

// TestHomeStartsAnew has the home forget everything, which nobody is told.
func TestHomeStartsAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "a", "b", "c")
		p := principal(c.tenantOf("c"), limits())
		overload := spread(2, 2, 0)
		c.run(p, 3*time.Second, overload)
		c.start("c")
		const seconds = 10
		require.InEpsilon(t, seconds*rate, sum(c.run(p, seconds*time.Second, overload)), 0.05)
	})
}

// TestNodeIsAlone spends from the bucket itself, to the token.
func TestNodeIsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := meter.New(meter.Config{NodeID: "a"}, prometheus.NewRegistry())
		p := principal("tenant", tenancy.Limits{RequestsPerSecond: 100, RequestsBurst: 50})
		a, err := m.Tenant(p)
		require.NoError(t, err)
		admit := func() (n int) {
			for a.Admit(1, 1) == nil {
				n++
			}
			return n
		}
		require.Equal(t, 50, admit())
		err = a.Admit(1, 1)
		require.Equal(t, &tenancy.QuotaError{Limit: "requests_per_second", Value: 100, RetryAfter: 10 * time.Millisecond}, err)
		<-time.After(200 * time.Millisecond)
		require.Equal(t, 20, admit())
		<-time.After(time.Hour)
		require.Equal(t, 50, admit())

		p.Limits.RequestsPerSecond = 0
		a, err = m.Tenant(p)
		require.NoError(t, err)
		for range 1000 {
			require.NoError(t, a.Admit(1, 1), "there is no limit any more")
		}
		_, _, active := meter.Sizes(m)
		require.Zero(t, active)
	})
}

// TestBytesAreOwed has answers cost more than there is.
func TestBytesAreOwed(t *testing.T) {
	t.Parallel()
	for _, node := range []string{"a", "c"} { // the home is c
		t.Run("at "+node, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, "a", "b", "c")
				p := principal(c.tenantOf("c"), tenancy.Limits{BytesPerSecond: 1000, BytesBurst: 1000})
				a, err := c.meters[node].Tenant(p)
				require.NoError(t, err)
				bytes := 0
				const seconds = 60
				for begin := time.Now(); time.Since(begin) < seconds*time.Second; <-time.After(step) {
					err := a.Admit(1, 50)
					if err == nil {
						a.Answered(meter.Cost{Bytes: 950})
						bytes += 1000
						continue
					}
					var refused *tenancy.QuotaError
					require.ErrorAs(t, err, &refused)
					require.Equal(t, "bytes_per_second", refused.Limit)
				}
				require.InDelta(t, (seconds+1)*1000, bytes, 2000)

				for range 100 {
					a.Answered(meter.Cost{Bytes: 1 << 20}) // of watches, which nobody asks whether they may
				}
				<-time.After(time.Second)
				require.Error(t, a.Admit(1, 1))
				require.Error(t, a.Admit(0, 1), "what was begun has to wait too")
				<-time.After(61 * time.Second)
				require.NoError(t, a.Admit(1, 1), "no debt takes longer than a minute")
			})
		})
	}
}

// TestLimitsChange has the limits change while requests come.
func TestLimitsChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "a", "b", "c")
		p := principal(c.tenantOf("c"), limits())
		c.run(p, 3*time.Second, spread(20, 20, 20))
		faster := &tenancy.Principal{Tenant: p.Tenant, Limits: tenancy.Limits{RequestsPerSecond: 5 * rate}.WithDefaults()}
		c.run(faster, time.Second, spread(20, 20, 20))
		require.InEpsilon(t, 5*5*rate, sum(c.run(faster, 5*time.Second, spread(20, 20, 20))), 0.05)
		none := &tenancy.Principal{Tenant: p.Tenant, Limits: tenancy.Limits{}.WithDefaults()}
		require.InEpsilon(t, 3*20*rate, sum(c.run(none, time.Second, spread(20, 20, 20))), 0.01)
		c.run(p, 3*time.Second, spread(20, 20, 20))
		require.InEpsilon(t, 5*rate, sum(c.run(p, 5*time.Second, spread(20, 20, 20))), 0.05)
	})
}

// TestTenantsRest has nothing run, and nothing kept, for tenants that are idle.
func TestTenantsRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "a", "b", "c")
		for i := range 500 {
			p := principal(fmt.Sprintf("tenant-%d", i), limits())
			c.send(p, "a", 3)
			c.send(p, "b", 3)
		}
		<-time.After(time.Second)
		homes := 0
		for _, name := range []string{"a", "b"} {
			tenants, own, active := meter.Sizes(c.meters[name])
			require.Equal(t, 500, tenants)
			require.Zero(t, active, "homes are asked no more")
			homes += own
		}
		_, own, _ := meter.Sizes(c.meters["c"])
		require.Equal(t, 500, homes+own)
		require.Greater(t, own, 100, "homes are spread")

		before := c.messages()
		<-time.After(3 * time.Minute)
		require.Equal(t, before, c.messages())
		for _, m := range c.meters {
			tenants, homes, _ := meter.Sizes(m)
			require.Zero(t, tenants)
			require.Zero(t, homes)
		}
	})
}

// TestTakeRefuses has a home asked what no gateway asks.
func TestTakeRefuses(t *testing.T) {
	t.Parallel()
	m := meter.New(meter.Config{NodeID: "a"}, prometheus.NewRegistry())
	ask := func(a *internalv1.RateAsk) *internalv1.TakeRequest {
		return &internalv1.TakeRequest{NodeId: "b", Asks: []*internalv1.QuotaAsk{{Tenant: "tenant", Requests: a}}}
	}
	for name, request := range map[string]*internalv1.TakeRequest{
		"nobody asks":      {},
		"too many tenants": {NodeId: "b", Asks: make([]*internalv1.QuotaAsk, 1001)},
		"no tenant":        {NodeId: "b", Asks: []*internalv1.QuotaAsk{{}}},
		"rate":             ask(&internalv1.RateAsk{PerSecond: 1 << 50}),
		"burst":            ask(&internalv1.RateAsk{PerSecond: 1, Burst: 1 << 50}),
		"total":            ask(&internalv1.RateAsk{PerSecond: 1, Spent: 1 << 63}),
		"want":             ask(&internalv1.RateAsk{PerSecond: 1, Want: 1 << 61}),
	} {
		_, err := m.Server().Take(t.Context(), request)
		require.Error(t, err, name)
	}
	level := int64(-1 << 63)
	response, err := m.Server().Take(t.Context(), ask(&internalv1.RateAsk{PerSecond: 10, Level: &level, Want: 1 << 60}))
	require.NoError(t, err)
	require.Zero(t, response.GetGrants()[0].GetRequests().GetGranted())
	require.Nil(t, response.GetGrants()[0].GetBytes())
}

// TestSlowHomesRefuseNobodyBelowTheRate sends a request now and then, to gateways that
// have to ask several times before the first answer comes: what they may spend on
// credit is not taken back by an answer to what they asked before.
func TestSlowHomesRefuseNobodyBelowTheRate(t *testing.T) {
	t.Parallel()
	for _, latency := range []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond} {
		t.Run(latency.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, "a", "b", "c")
				c.latency = latency
				p := principal(c.tenantOf("a"), tenancy.Limits{
					RequestsPerSecond: 1000, RequestsBurst: 1000, BytesPerSecond: 16 << 20, BytesBurst: 16 << 20,
				})
				random := rand.New(rand.NewPCG(3, 4))
				for i := range 400 {
					<-time.After(time.Duration(random.IntN(900)) * time.Millisecond)
					require.Equal(t, 2, c.send(p, c.names[random.IntN(3)], 2), "burst %d", i)
				}
			})
		})
	}
}
