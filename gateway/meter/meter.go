package meter

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/tenancy"
)

// Remote asks the homes of tenants: a *peer.Pool.
type Remote interface {
	Take(ctx context.Context, node string, request *internalv1.TakeRequest) (*internalv1.TakeResponse, error)
}

// Directory tells which nodes there are: a *catalog.Directory.
type Directory interface {
	Records() *internalv1.Directory
}

// Config is what a meter needs. Zero fields take the defaults.
type Config struct {
	// NodeID is this node.
	NodeID string
	// Remote and Directory are the other nodes; nil for a node that is alone, which
	// is the home of all tenants.
	Remote    Remote
	Directory Directory
	// Ledger keeps what was counted; nil keeps nothing.
	Ledger Ledger
	// BootID names this process in the ledger; no two have the same.
	BootID string
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Log tells of homes that cannot be reached.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	return c
}

const (
	// tick is how often homes are asked.
	tick = 50 * time.Millisecond
	// creditFor is what is let in on credit, as a time in which it comes.
	creditFor = 100 * time.Millisecond
	// tenantsMax bounds the tenants that this gateway has seen within the last
	// minute, and those whose home it is; others are refused for a while.
	tenantsMax = 200_000
	// sweepEvery is how often those that are idle are looked for.
	sweepEvery = 10 * time.Second
	// idleSweeps is after how many looks without use a tenant is dropped.
	idleSweeps = 6
)

// A Meter admits and counts what comes to one gateway, and is the home of some
// tenants. A nil Meter lets everything in. Safe for concurrent use.
type Meter struct {
	cfg     Config
	metrics *metrics
	nodes   nodes
	ledger  *ledger

	tenants  sync.Map // tenancy.TenantID → *Tenant
	tenantsN atomic.Int64
	homes    sync.Map // tenancy.TenantID → *home
	homesN   atomic.Int64
	sweeps   atomic.Uint32
	leases   atomic.Uint64

	mu sync.Mutex
	// active are the tenants that homes are asked for at each tick, and urgent
	// those that should be asked for at once.
	active map[*Tenant]struct{}
	urgent []*Tenant
	peers  map[string]*peer
	// wake has Run look.
	wake chan struct{}
	// asking are the asks on their way.
	asking sync.WaitGroup
}

// New makes a meter. Run must run for it to ask homes.
func New(cfg Config, reg prometheus.Registerer) *Meter {
	m := &Meter{
		cfg: cfg.withDefaults(), active: make(map[*Tenant]struct{}), peers: make(map[string]*peer), wake: make(chan struct{}, 1),
	}
	m.nodes.init(m.cfg)
	m.ledger = newLedger(m.cfg)
	// Totals of a process begin at 0, so its leases must not be those of the one
	// before it.
	m.leases.Store(uint64(m.cfg.Now().UnixNano()))
	m.metrics = newMetrics(reg, func() float64 { return float64(m.tenantsN.Load()) })
	return m
}

// Tenant is a principal's tenant at this gateway, for one request or stream. The
// error is a *shards.BusyError when there are too many of them.
func (m *Meter) Tenant(p *tenancy.Principal) (*Tenant, error) {
	if m == nil {
		return nil, nil //nolint:nilnil // a nil tenant counts nothing
	}
	loaded, ok := m.tenants.Load(p.Tenant)
	if !ok {
		if m.tenantsN.Load() >= tenantsMax {
			return nil, &shards.BusyError{Queue: "tenants", RetryAfter: time.Second}
		}
		if loaded, ok = m.tenants.LoadOrStore(p.Tenant, newTenant(m, p.Tenant)); !ok {
			m.tenantsN.Add(1)
		}
	}
	t := loaded.(*Tenant) //nolint:forcetypeassert,errcheck // the map has no others
	t.touch()
	t.hold(&p.Limits)
	return t, nil
}

// Run asks the homes of tenants that are active until ctx ends.
func (m *Meter) Run(ctx context.Context) error {
	defer m.asking.Wait()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	ticking := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sweep.C:
			m.sweep()
			continue
		case <-m.wake:
			if !ticking { // nobody was active for a while
				ticker.Reset(tick)
				ticking = true
			}
			m.round(ctx, m.takeUrgent())
		case <-ticker.C:
			m.takeUrgent()
			m.round(ctx, m.takeActive())
		}
		if ticking && m.idle() {
			ticker.Stop()
			ticking = false
		}
	}
}

// Count writes down what tenants use until ctx ends, and then what is left.
func (m *Meter) Count(ctx context.Context) error {
	timer := time.NewTimer(m.ledger.next())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			// Nobody is served any more, and nothing is to be lost.
			if err := m.ledger.flushAll(context.WithoutCancel(ctx)); err != nil {
				m.cfg.Log.Error("usage of the last seconds is lost", "err", err)
			}
			return nil
		case <-timer.C:
		}
		if err := m.ledger.flush(ctx); err != nil && ctx.Err() == nil {
			m.cfg.Log.Warn("usage is not written, and will be", "err", err)
		}
		timer.Reset(m.ledger.next())
	}
}

// Flush writes down what a tenant has used at this gateway until now, or a second
// ago.
func (m *Meter) Flush(ctx context.Context, id tenancy.TenantID) error {
	if m == nil {
		return nil
	}
	t, ok := m.tenants.Load(id)
	if !ok {
		return nil
	}
	return m.ledger.flushTenant(ctx, t.(*Tenant)) //nolint:forcetypeassert,errcheck // the map has no others
}

// sweep drops the tenants and homes that nobody has used for a while.
func (m *Meter) sweep() {
	now, sweeps := m.cfg.Now(), m.sweeps.Add(1)
	m.tenants.Range(func(tenant, value any) bool {
		if a, ok := value.(*Tenant); ok && a.droppable(sweeps) {
			m.tenants.Delete(tenant)
			m.tenantsN.Add(-1)
		}
		return true
	})
	m.homes.Range(func(tenant, value any) bool {
		if h, ok := value.(*home); ok && h.end(now) {
			m.dropHome(tenant, h)
		}
		return true
	})
}

// urge has homes asked for a tenant without waiting for the tick.
func (m *Meter) urge(a *Tenant) {
	m.mu.Lock()
	m.urgent = append(m.urgent, a)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default: // it is about to look
	}
}

func (m *Meter) takeUrgent() []*Tenant {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.urgent
	m.urgent = nil
	return list
}

func (m *Meter) takeActive() []*Tenant {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]*Tenant, 0, len(m.active))
	for a := range m.active {
		list = append(list, a)
	}
	return list
}

func (m *Meter) idle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.active) == 0 && len(m.urgent) == 0
}

// setActive has homes asked for a tenant at each tick, or not any more.
func (m *Meter) setActive(a *Tenant, active bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if active {
		m.active[a] = struct{}{}
	} else {
		delete(m.active, a)
	}
}

// retryMin is how long a caller is asked to wait at least.
const retryMin = 10 * time.Millisecond

// refuseRequests refuses for want of requests.
func (m *Meter) refuseRequests(r *rates, wait time.Duration) error {
	m.metrics.requests.Inc()
	return &tenancy.QuotaError{Limit: limitRequests, Value: r.requests.PerSecond, RetryAfter: max(wait, retryMin)}
}

// refuseBytes refuses for want of bytes.
func (m *Meter) refuseBytes(r *rates, wait time.Duration) error {
	m.metrics.bytes.Inc()
	return &tenancy.QuotaError{Limit: limitBytes, Value: r.bytes.PerSecond, RetryAfter: max(wait, retryMin)}
}
