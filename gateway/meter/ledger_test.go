package meter_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/placement/catalog"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// ledger keeps rows in memory.
type ledger struct {
	mu     sync.Mutex
	rows   map[string]*flotillav1.Usage
	firsts map[string]int
	writes int
	// fail is returned instead of writing, or with lose after it.
	fail error
	lose bool
}

func (l *ledger) WriteUsage(_ context.Context, rows []catalog.UsageRow) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil && !l.lose {
		return l.fail
	}
	for _, r := range rows {
		key := fmt.Sprintf("%s/%d/%s", r.Tenant, r.Hour, r.Boot)
		l.rows[key] = proto.CloneOf(r.Usage)
		if r.First {
			l.firsts[key]++
		}
		l.writes++
	}
	return l.fail
}

// written is how many rows were written.
func (l *ledger) written() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writes
}

func (l *ledger) setFail(err error, lose bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail, l.lose = err, lose
}

// sum is what all rows have of a tenant, and how many they are.
func (l *ledger) sum(tenant string) (sum *flotillav1.Usage, rows int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum = &flotillav1.Usage{}
	for key, usage := range l.rows {
		if len(key) > len(tenant) && key[:len(tenant)+1] == tenant+"/" {
			catalog.AddUsage(sum, usage)
			rows++
		}
	}
	return sum, rows
}

// counting is a meter that counts, and its ledger.
type counting struct {
	*meter.Meter
	t      *testing.T
	ledger *ledger
	stop   func()
}

func newCounting(t *testing.T) *counting {
	t.Helper()
	c := &counting{t: t, ledger: &ledger{rows: make(map[string]*flotillav1.Usage), firsts: make(map[string]int)}}
	c.Meter = meter.New(meter.Config{NodeID: "a", BootID: "boot", Ledger: c.ledger}, prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = c.Count(ctx) })
	running.Go(func() { _ = c.Run(ctx) })
	c.stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(c.stop)
	return c
}

// use has a tenant make requests.
func (c *counting) use(tenant string, requests int) {
	c.t.Helper()
	for range requests {
		o, err := c.Admit(c.t.Context(), &tenancy.Principal{Tenant: tenancy.TenantID(tenant)}, 1, 10)
		require.NoError(c.t, err)
		o.Answered(meter.Cost{ReadUnits: 2, WriteUnits: 3, Bytes: 100})
	}
}

// untilHour waits until some time before the next hour begins.
func untilHour(before time.Duration) {
	now := time.Now()
	<-time.After(now.Truncate(time.Hour).Add(time.Hour).Sub(now) - before)
}

func TestLedger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCounting(t)
		untilHour(30 * time.Minute)
		c.use("acme", 5)
		c.use("other", 1)
		<-time.After(11 * time.Second)
		usage, rows := c.ledger.sum("acme")
		require.Equal(t, 1, rows)
		require.True(t, proto.Equal(&flotillav1.Usage{Requests: 5, ReadUnits: 10, WriteUnits: 15, BytesIn: 50, BytesOut: 500}, usage), usage)
		require.Equal(t, 2, c.ledger.written())
		<-time.After(5 * time.Minute)
		require.Equal(t, 2, c.ledger.written(), "who does nothing is not written")
		accounts, _, _ := meter.Sizes(c.Meter)
		require.Zero(t, accounts)

		c.use("acme", 5)
		<-time.After(11 * time.Second)
		usage, rows = c.ledger.sum("acme")
		require.EqualValues(t, 10, usage.GetRequests(), "the row goes on, though the tenant was dropped meanwhile")
		require.Equal(t, 1, rows)

		untilHour(time.Millisecond)
		c.use("acme", 3)
		<-time.After(2 * time.Millisecond)
		c.use("acme", 4)
		c.stop()
		usage, rows = c.ledger.sum("acme")
		require.EqualValues(t, 17, usage.GetRequests(), "a stop loses nothing")
		require.Equal(t, 2, rows, "each hour has its own")
		for key, n := range c.ledger.firsts {
			require.Equal(t, 1, n, key)
		}
	})
}

func TestLedgerThatFails(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]bool{"nothing is written": false, "answers are lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCounting(t)
				untilHour(time.Minute)
				c.ledger.setFail(errors.New("no leader"), lose)
				for range 300 { // over the end of the hour
					c.use("acme", 1)
					<-time.After(time.Second)
				}
				c.ledger.setFail(nil, false)
				<-time.After(30 * time.Second)
				usage, rows := c.ledger.sum("acme")
				require.EqualValues(t, 300, usage.GetRequests())
				require.Equal(t, 2, rows)
				writes := c.ledger.written()
				<-time.After(10 * time.Minute)
				require.LessOrEqual(t, c.ledger.written(), writes+2, "it comes to rest")
			})
		})
	}
}

// TestWatchSeconds adds up for how long watches are open, also of tenants that do
// nothing else.
func TestWatchSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCounting(t)
		untilHour(10 * time.Minute)
		watched, err := c.Tenant(&tenancy.Principal{Tenant: "acme"})
		require.NoError(t, err)
		watched.Watches(3)
		<-time.After(90 * time.Second)
		watched.Watches(-1)
		<-time.After(8*time.Minute + 40*time.Second) // ten seconds into the next hour
		usage, rows := c.ledger.sum("acme")
		require.Equal(t, 1, rows)
		require.EqualValues(t, 3*90+2*510, usage.GetWatchSeconds(), "the hour is complete when it is over")
		writes := c.ledger.written()
		<-time.After(30 * time.Minute)
		require.LessOrEqual(t, c.ledger.written(), writes+31, "once a minute")
		accounts, _, _ := meter.Sizes(c.Meter)
		require.Equal(t, 1, accounts, "it is not dropped while it watches")
		watched.Watches(-2)
		<-time.After(11 * time.Second)
		usage, _ = c.ledger.sum("acme")
		require.EqualValues(t, 3*90+2*510+2*1810, usage.GetWatchSeconds())
		<-time.After(2 * time.Minute)
		accounts, _, _ = meter.Sizes(c.Meter)
		require.Zero(t, accounts)
	})
}

// TestFlush writes what one tenant has used at once, but not more than once a
// second.
func TestFlush(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCounting(t)
		untilHour(30 * time.Minute)
		c.use("acme", 5)
		c.use("other", 5)
		require.NoError(t, c.Flush(t.Context(), "acme"))
		require.NoError(t, c.Flush(t.Context(), "nobody"))
		usage, _ := c.ledger.sum("acme")
		require.EqualValues(t, 5, usage.GetRequests())
		_, rows := c.ledger.sum("other")
		require.Zero(t, rows)
		c.use("acme", 1)
		require.NoError(t, c.Flush(t.Context(), "acme"))
		require.Equal(t, 1, c.ledger.written())
		<-time.After(time.Second)
		require.NoError(t, c.Flush(t.Context(), "acme"))
		usage, _ = c.ledger.sum("acme")
		require.EqualValues(t, 6, usage.GetRequests())
	})
}

// TestClockThatIsSetBack has an hour come twice: what was written of it stays.
func TestClockThatIsSetBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var step time.Duration
		var mu sync.Mutex
		kept := &ledger{rows: make(map[string]*flotillav1.Usage), firsts: make(map[string]int)}
		m := meter.New(meter.Config{NodeID: "a", BootID: "boot", Ledger: kept, Now: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(step)
		}}, prometheus.NewRegistry())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = m.Count(ctx) }()
		c := &counting{Meter: m, t: t, ledger: kept}
		for range 20 {
			c.use("acme", 1)
			<-time.After(20 * time.Minute)
			mu.Lock()
			step -= 30 * time.Minute
			mu.Unlock()
		}
		<-time.After(time.Minute)
		usage, _ := kept.sum("acme")
		require.EqualValues(t, 20, usage.GetRequests())
	})
}
