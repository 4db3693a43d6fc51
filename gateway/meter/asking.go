package meter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/tenancy/quota"
)

const (
	// askTimeout is how long a home may take to answer.
	askTimeout = 250 * time.Millisecond
	// silentMax is how many asks in a row a home may leave unanswered before it is
	// done without.
	silentMax = 3
	// asksMax bounds the tenants of one message.
	asksMax = 1000
)

// peer is a node that is the home of tenants which are active here.
type peer struct {
	node string
	// busy is set while asks are on their way.
	busy bool
	// silent is how many asks in a row were not answered.
	silent int
	// down is set while the node is done without, and is tried again at retryAt.
	down    bool
	retryAt time.Time
}

// round asks the homes of tenants, each once for all of them, and waits for none.
// A home that has not answered yet is left out.
func (m *Meter) round(ctx context.Context, tenants []*Tenant) {
	now := m.cfg.Now()
	byHome := make(map[string][]*Tenant)
	for _, t := range tenants {
		if home := t.askOwn(now); home != m.cfg.NodeID {
			byHome[home] = append(byHome[home], t)
		}
	}
	for node, list := range byHome {
		p, free, down := m.seize(node, now)
		if down {
			for _, t := range list {
				t.help(now)
			}
		}
		if free {
			m.asking.Go(func() { m.ask(ctx, p, list) })
		}
	}
}

// seize takes a node to ask it, if nobody does and it is time. down tells that it
// is done without.
func (m *Meter) seize(node string, now time.Time) (p *peer, free, down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p = m.peers[node]
	if p == nil {
		p = &peer{node: node}
		m.peers[node] = p
	}
	free = !p.busy && (!p.down || !now.Before(p.retryAt))
	p.busy = p.busy || free
	return p, free, p.down
}

// release notes how the asking went.
func (m *Meter) release(p *peer, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p.busy = false
	wasDown := p.down
	switch {
	case err == nil:
		p.silent, p.down = 0, false
		if wasDown {
			m.cfg.Log.Info("rates are shared with their home again", "node_id", p.node)
		}
		// Those that are not asked any more are forgotten: nodes come and go.
		if m.nodes.now().records.GetNodes()[p.node] == nil {
			delete(m.peers, p.node)
		}
		return
	case !isSilence(err):
		p.silent = silentMax
	default:
		p.silent++
	}
	p.down = p.silent >= silentMax
	p.retryAt = m.cfg.Now().Add(askTimeout)
	if p.down && !wasDown {
		m.cfg.Log.Warn("the home of rates is not reached: each node grants its part of them", "node_id", p.node, "err", err)
	}
}

func isSilence(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded
}

// ask asks a node for tenants, in as many messages as it takes.
func (m *Meter) ask(ctx context.Context, p *peer, tenants []*Tenant) {
	var err error
	for len(tenants) > 0 && err == nil {
		n := min(len(tenants), asksMax)
		err = m.askSome(ctx, p.node, tenants[:n])
		tenants = tenants[n:]
	}
	if ctx.Err() == nil {
		m.release(p, err)
	}
}

func (m *Meter) askSome(ctx context.Context, node string, tenants []*Tenant) error {
	request := &internalv1.TakeRequest{NodeId: m.cfg.NodeID}
	asked := tenants[:0:0]
	for _, t := range tenants {
		if ask := t.ask(node); ask != nil {
			request.Asks = append(request.Asks, ask)
			asked = append(asked, t)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	response, err := m.cfg.Remote.Take(ctx, node, request)
	if err != nil {
		return err
	}
	if len(response.GetGrants()) != len(asked) {
		return fmt.Errorf("node %s answered %d asks of %d", node, len(response.GetGrants()), len(asked))
	}
	now := m.cfg.Now()
	for i, grant := range response.GetGrants() {
		asked[i].granted(grantOf(grant.GetRequests()), grantOf(grant.GetBytes()), now)
	}
	return nil
}

// askOwn returns the home of the tenant; if it is on this node, it is asked.
func (t *Tenant) askOwn(now time.Time) (home string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.look()
	if t.home != v.self {
		t.direct.Store(nil)
		return t.home
	}
	h := t.ownHome()
	if h == nil {
		t.helpLocked(now)
		return t.home
	}
	if t.direct.Load() == nil && h.alone(v.self, now) {
		t.direct.Store(&direct{home: h, view: v}) // from now on nothing is leased
	}
	r := t.rates.Load()
	requests, bytes := t.asks(r)
	if t.direct.Load() != nil {
		requests.Want, bytes.Want, t.requests.want, t.bytes.want = 0, 0, 0, 0
	}
	if ofRequests, ofBytes, err := t.meter.askHome(t.id, requests, bytes, now); err == nil {
		t.grantedLocked(ofRequests, ofBytes, now)
	}
	return t.home
}

// ask is what the tenant's home is told and asked; nil if that is another node by
// now.
func (t *Tenant) ask(node string) *internalv1.QuotaAsk {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.home != node {
		return nil
	}
	requests, bytes := t.asks(t.rates.Load())
	return &internalv1.QuotaAsk{
		Tenant: string(t.id), Lease: t.lease, Requests: askProto(requests), Bytes: askProto(bytes),
	}
}

// asks needs mu.
func (t *Tenant) asks(r *rates) (requests, bytes rateAsk) {
	urgent := t.urged.Swap(false)
	of := func(l *lane, rate quota.Rate) rateAsk {
		if rate.Unlimited() {
			l.forget()
			return rateAsk{}
		}
		ask := rateAsk{Ask: l.ask(rate, urgent), rate: rate}
		ask.Node, ask.Lease = t.view.self, t.lease
		if !l.levelAt.IsZero() {
			level := l.level
			ask.level = &level
		}
		return ask
	}
	return of(&t.requests, r.requests), of(&t.bytes, r.bytes)
}

// granted takes over a home's answer.
func (t *Tenant) granted(requests, bytes rateGrant, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.grantedLocked(requests, bytes, now)
}

func (t *Tenant) grantedLocked(requests, bytes rateGrant, now time.Time) {
	r := t.rates.Load()
	if !r.requests.Unlimited() && t.requests.asking {
		t.requests.grant(r.requests, requests.granted, requests.level, now)
	}
	if !r.bytes.Unlimited() && t.bytes.asking {
		t.bytes.grant(r.bytes, bytes.granted, bytes.level, now)
	}
	t.rest()
}

// help grants the tenant its part of the rates while its home is away.
func (t *Tenant) help(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.helpLocked(now)
}

func (t *Tenant) helpLocked(now time.Time) {
	r, part := t.rates.Load(), t.view.part()
	if !r.requests.Unlimited() {
		t.requests.help(r.requests, part, now)
	}
	if !r.bytes.Unlimited() {
		t.bytes.help(r.bytes, part, now)
	}
	t.rest()
}

// rest has homes asked no more when there is nothing to ask or tell. It needs mu.
func (t *Tenant) rest() {
	if t.requests.isSettled() && t.bytes.isSettled() {
		t.meter.setActive(t, false)
	}
}
