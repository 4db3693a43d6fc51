package meter

import (
	"sync"
	"sync/atomic"

	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/quota"
)

// A Tenant is one tenant at this gateway. A nil Tenant lets everything in. Safe
// for concurrent use.
type Tenant struct {
	meter *Meter
	id    tenancy.TenantID
	rates atomic.Pointer[rates]
	// swept is how many sweeps there were when it was last used.
	swept atomic.Uint32
	// direct is set while the tenant's tokens are spent from the home on this node;
	// otherwise, while leased is set, from the lanes.
	direct atomic.Pointer[direct]
	leased atomic.Bool
	urged  atomic.Bool

	requests, bytes lane
	// connections are those that are open.
	connections atomic.Int64
	used        counters

	// mu guards the changes of direct and leased, and what follows.
	mu sync.Mutex
	// lease is the number under which homes know the lanes' totals.
	lease uint64
	view  *view // in which the home is
	home  string
	// answered is the number of the last ask that was answered, of that home.
	answered uint64
}

// direct is the home of a tenant on this node, of which no other gateway asks.
type direct struct {
	home *home
	view *view
}

func newTenant(m *Meter, id tenancy.TenantID) *Tenant {
	t := &Tenant{meter: m, id: id, lease: m.leases.Add(1)}
	t.rates.Store(&rates{})
	t.requests.idle.Store(true)
	t.bytes.idle.Store(true)
	t.swept.Store(m.sweeps.Load())
	return t
}

// touch notes that the tenant is in use.
func (t *Tenant) touch() {
	if now := t.meter.sweeps.Load(); t.swept.Load() != now {
		t.swept.Store(now)
	}
}

// Admit lets requests in that bring so many bytes, or refuses them with a
// *tenancy.QuotaError and takes nothing. 0 requests are refused only while the
// tenant owes bytes.
func (t *Tenant) Admit(requests, bytes int) error {
	if t == nil {
		return nil
	}
	if r := t.rates.Load(); r.limited {
		if err := t.take(r, requests, max(bytes, 1)); err != nil {
			return err
		}
	}
	t.countRequest(requests, bytes)
	return nil
}

// brought counts bytes of a request that was let in already.
func (t *Tenant) brought(bytes int) {
	t.owe(bytes)
	t.countRequest(0, bytes)
}

// Answered counts the cost of what was let in, after the fact: if the tenant has
// fewer bytes it owes them.
func (t *Tenant) Answered(cost Cost) {
	if t == nil {
		return
	}
	t.owe(cost.Bytes)
	t.countCost(cost)
}

// owe spends bytes, also if there are none.
func (t *Tenant) owe(bytes int) {
	r := t.rates.Load()
	if r.bytes.Unlimited() || bytes == 0 {
		return
	}
	if d := t.direct.Load(); d != nil && d.home.spend(r, bytes, t.meter.cfg.Now()) {
		return
	}
	t.bytes.spent.Add(tokens(bytes))
	if t.bytes.idle.Load() {
		t.begin()
		t.lend(&t.bytes, r.bytes)
	}
}

// take spends tokens of both rates, or none.
func (t *Tenant) take(r *rates, requests, bytes int) error {
	for {
		d := t.direct.Load()
		switch {
		case d != nil:
			now := t.meter.cfg.Now()
			if t.meter.nodes.now() == d.view {
				if err, ok := d.home.take(t.meter, r, requests, bytes, now); ok {
					return err
				}
			}
			t.direct.CompareAndSwap(d, nil)
		case t.leased.Load():
			return t.takeLeased(r, requests, bytes)
		}
		t.begin()
	}
}

// takeLeased spends what is in hand.
func (t *Tenant) takeLeased(r *rates, requests, bytes int) error {
	// Bytes may be owed, so it is enough to look; what is refused takes nothing.
	if !r.bytes.Unlimited() && !t.tries(&t.bytes, r.bytes, t.bytes.has) {
		t.refused(requests, bytes)
		return t.meter.refuseBytes(r, t.bytes.retryAfter(t.meter.cfg.Now()))
	}
	take := func() bool { return t.requests.take(requests) }
	if requests > 0 && !r.requests.Unlimited() && !t.tries(&t.requests, r.requests, take) {
		t.refused(requests, bytes)
		return t.meter.refuseRequests(r, t.requests.retryAfter(t.meter.cfg.Now()))
	}
	if !r.bytes.Unlimited() {
		t.bytes.spent.Add(tokens(bytes))
	}
	if !r.requests.Unlimited() && t.requests.isLow() || !r.bytes.Unlimited() && t.bytes.isLow() {
		t.urge()
	}
	return nil
}

// tries tries what takes a token in hand, and once more if there may be credit.
func (t *Tenant) tries(l *lane, rate quota.Rate, try func() bool) bool {
	return try() || t.lend(l, rate) && try()
}

// refused notes what was wanted of both rates: who comes again will want it.
func (t *Tenant) refused(requests, bytes int) {
	t.requests.refused.Add(tokens(requests))
	t.bytes.refused.Add(tokens(bytes))
}

// urge has the home asked at once.
func (t *Tenant) urge() {
	if !t.urged.Load() && t.urged.CompareAndSwap(false, true) {
		t.meter.urge(t)
	}
}

// begin finds out where the tenant's tokens are.
func (t *Tenant) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.direct.Load() != nil {
		return
	}
	v := t.look()
	if h := t.ownHome(); h != nil {
		now := t.meter.cfg.Now()
		if h.alone(v.self, now) {
			t.direct.Store(&direct{home: h, view: v})
			return
		}
		requests, bytes := h.levels(now)
		t.requests.learn(requests, now)
		t.bytes.learn(bytes, now)
	}
	t.leased.Store(true)
}

// ownHome is the tenant's home if it is on this node. It needs mu.
func (t *Tenant) ownHome() *home {
	if t.home != t.view.self {
		return nil
	}
	return t.meter.home(t.id)
}

// look finds the home anew if there are other nodes than before. It needs mu.
func (t *Tenant) look() *view {
	v := t.meter.nodes.now()
	if t.view != v {
		if home := v.home(t.id); home != t.home {
			t.home, t.answered = home, 0
		}
		t.view = v
	}
	return v
}

// lend begins to use a lane that is idle. It tells whether the lane was.
func (t *Tenant) lend(l *lane, rate quota.Rate) bool {
	if !l.mayLend() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case l.idle.Load():
		l.lend(rate, t.meter.cfg.Now())
		t.meter.setActive(t, true)
	case l.mayLend():
		l.limit.Store(l.ahead.Load())
	default:
		return true // somebody else did
	}
	t.urge()
	return true
}

// droppable tells whether nobody has used the tenant for so many sweeps that it
// can be dropped.
func (t *Tenant) droppable(sweeps uint32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return sweeps-t.swept.Load() >= idleSweeps && t.connections.Load() == 0 &&
		!t.used.dirty.Load() && t.used.watches.count() == 0 && t.requests.isSettled() && t.bytes.isSettled()
}
