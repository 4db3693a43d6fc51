package meter

import (
	"sync"
	"time"

	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/quota"
)

// A home keeps the tokens of one tenant for all gateways.
type home struct {
	mu sync.Mutex
	// requests and bytes are nil until there is a limit.
	requests, bytes *quota.Shared
	// gone is set when it was forgotten.
	gone bool
}

// home is the home of a tenant on this node. It is nil when there are too many.
func (m *Meter) home(tenant tenancy.TenantID) *home {
	for {
		if m.homesN.Load() >= tenantsMax {
			known, _ := m.homes.Load(tenant)
			h, _ := known.(*home)
			return h
		}
		loaded, there := m.homes.LoadOrStore(tenant, &home{})
		if !there {
			m.homesN.Add(1)
		}
		h := loaded.(*home) //nolint:forcetypeassert,errcheck // the map has no others
		if !h.isGone() {
			return h
		}
		m.dropHome(tenant, h)
	}
}

// dropHome takes a home that is gone off the map.
func (m *Meter) dropHome(tenant any, h *home) {
	if m.homes.CompareAndDelete(tenant, h) {
		m.homesN.Add(-1)
	}
}

func (h *home) isGone() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gone
}

// sharedOf is the bucket of a rate, made if need be and with its present rate; nil
// for one without a limit.
func sharedOf(s **quota.Shared, rate quota.Rate, now time.Time) *quota.Shared {
	if rate.Unlimited() {
		return nil
	}
	if *s == nil {
		made := quota.NewShared(rate, now)
		*s = &made
	}
	(*s).Bucket().SetRate(rate, now)
	return *s
}

// take spends of both rates, or of none, for the gateway of this node. ok is false
// if it cannot say, because others spend too, or it is gone.
func (h *home) take(m *Meter, r *rates, requests, bytes int, now time.Time) (refusal error, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone || !h.aloneLocked(m.cfg.NodeID, now) {
		return nil, false
	}
	ofRequests, ofBytes := sharedOf(&h.requests, r.requests, now), sharedOf(&h.bytes, r.bytes, now)
	if ofBytes != nil && ofBytes.Bucket().Level(now) < 1 {
		return m.refuseBytes(r, ofBytes.Bucket().Wait(now)), true
	}
	if ofRequests != nil && requests > 0 && !ofRequests.Bucket().Take(float64(requests), now) {
		return m.refuseRequests(r, ofRequests.Bucket().Wait(now)), true
	}
	if ofBytes != nil {
		ofBytes.Bucket().Spend(float64(bytes), now)
	}
	return nil, true
}

// spend spends bytes after the fact. It is false if the home is gone.
func (h *home) spend(r *rates, bytes int, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone {
		return false
	}
	if s := sharedOf(&h.bytes, r.bytes, now); s != nil {
		s.Bucket().Spend(float64(bytes), now)
	}
	return true
}

// alone tells whether only the gateway of this node spends.
func (h *home) alone(node string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.aloneLocked(node, now)
}

func (h *home) aloneLocked(node string, now time.Time) bool {
	return (h.requests == nil || h.requests.Alone(node, now)) && (h.bytes == nil || h.bytes.Alone(node, now))
}

// levels are how many tokens there are.
func (h *home) levels(now time.Time) (requests, bytes float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.requests != nil {
		requests = h.requests.Bucket().Level(now)
	}
	if h.bytes != nil {
		bytes = h.bytes.Bucket().Level(now)
	}
	return requests, bytes
}

// rateAsk is what a gateway tells and asks of one rate.
type rateAsk struct {
	quota.Ask
	rate quota.Rate
	// level is how many tokens the gateway believes there are, if it knows.
	level *float64
}

// rateGrant is the answer to it.
type rateGrant struct {
	granted int64
	level   float64
	// limited is whether there is a limit; the rest means nothing otherwise.
	limited bool
}

// ask answers a gateway. ok is false if the home is gone.
func (h *home) ask(requests, bytes rateAsk, now time.Time) (ofRequests, ofBytes rateGrant, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone {
		return rateGrant{}, rateGrant{}, false
	}
	return askShared(&h.requests, requests, now), askShared(&h.bytes, bytes, now), true
}

func askShared(s **quota.Shared, a rateAsk, now time.Time) rateGrant {
	isNew := *s == nil
	shared := sharedOf(s, a.rate, now)
	if shared == nil {
		return rateGrant{}
	}
	if isNew && a.level != nil { // it was another node's until now
		shared.Bucket().SetLevel(*a.level, now)
	}
	granted := shared.Ask(a.Ask, now)
	return rateGrant{granted, shared.Bucket().Level(now), true}
}

// end forgets the home if it is as a new one would be. It tells whether it was.
func (h *home) end(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone = (h.requests == nil || h.requests.Idle(now)) && (h.bytes == nil || h.bytes.Idle(now))
	return h.gone
}
