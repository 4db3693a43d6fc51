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
	// askAgain is after how long without an answer a home is asked again: an answer
	// that is late is as good as the next.
	askAgain = 250 * time.Millisecond
	// silentMax is after how long without an answer it is done without.
	silentMax = time.Second
	// askTimeout is how long an answer is waited for, and askingMax how many are, of
	// one home.
	askTimeout = 2 * time.Second
	askingMax  = 16
	// asksMax bounds the tenants of one message.
	asksMax = 1000
)

// peer is a node that is the home of tenants which are active here.
type peer struct {
	node string
	// asking is how many asks are on their way. They are numbered: sent is the last
	// one, and answered the last one that was answered or has failed.
	asking         int
	sent, answered uint64
	// asked is when the last one was sent, and silent since when none is answered.
	asked, silent time.Time
	// down is set while the node is done without.
	down bool
}

// round asks the homes of tenants, each once for all of them, and waits for none.
func (m *Meter) round(ctx context.Context, tenants []*Tenant) {
	now := m.cfg.Now()
	byHome := make(map[string][]*Tenant)
	for _, t := range tenants {
		if home := t.askOwn(now); home != m.cfg.NodeID {
			byHome[home] = append(byHome[home], t)
		}
	}
	for node, list := range byHome {
		p, n, down := m.seize(node, now)
		if down {
			for _, t := range list {
				t.help(now)
			}
		}
		if n.number > 0 {
			m.asking.Go(func() { m.ask(ctx, p, n, list) })
		}
	}
}

// ask is one ask of a node.
type ask struct {
	// number is 0 for none.
	number uint64
	// ahead is how many, with this one, are not answered yet.
	ahead int64
}

// seize begins to ask a node, if it is time: then the ask has a number. down tells
// that the node is done without.
func (m *Meter) seize(node string, now time.Time) (p *peer, n ask, down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p = m.peers[node]
	if p == nil {
		p = &peer{node: node}
		m.peers[node] = p
	}
	waits := p.answered < p.sent
	if waits && now.Sub(p.silent) > silentMax {
		m.setDown(p, errSilent)
	}
	if p.asking >= askingMax || (waits || p.down) && now.Sub(p.asked) < askAgain {
		return p, ask{}, p.down
	}
	if !waits {
		p.silent = now
	}
	p.sent++
	p.asking++
	p.asked = now
	return p, ask{number: p.sent, ahead: int64(p.sent - p.answered)}, p.down
}

var errSilent = errors.New("it does not answer")

// release notes how an ask went.
func (m *Meter) release(p *peer, number uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p.asking--
	if isSilence(err) { // seize sees it
		return
	}
	p.answered = max(p.answered, number)
	p.silent = m.cfg.Now()
	if err != nil {
		m.setDown(p, err)
		return
	}
	if p.down {
		p.down = false
		m.cfg.Log.Info("rates are shared with their home again", "node_id", p.node)
	}
	// Those that are gone from the cluster are forgotten.
	if m.nodes.now().records.GetNodes()[p.node] == nil {
		delete(m.peers, p.node)
	}
}

// setDown needs mu.
func (m *Meter) setDown(p *peer, why error) {
	if !p.down {
		m.cfg.Log.Warn("the home of rates is not reached: each node grants its part of them", "node_id", p.node, "err", why)
	}
	p.down = true
}

func isSilence(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded
}

// ask asks a node for tenants, in as many messages as it takes.
func (m *Meter) ask(ctx context.Context, p *peer, n ask, tenants []*Tenant) {
	var err error
	for len(tenants) > 0 && err == nil {
		part := tenants[:min(len(tenants), asksMax)]
		err = m.askSome(ctx, p.node, n, part)
		tenants = tenants[len(part):]
	}
	if ctx.Err() == nil {
		m.release(p, n.number, err)
	}
}

func (m *Meter) askSome(ctx context.Context, node string, n ask, tenants []*Tenant) error {
	request := &internalv1.TakeRequest{NodeId: m.cfg.NodeID}
	asked := tenants[:0:0]
	for _, t := range tenants {
		if told := t.ask(node, n); told != nil {
			request.Asks = append(request.Asks, told)
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
		asked[i].granted(n.number, grantOf(grant.GetRequests()), grantOf(grant.GetBytes()), now)
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
	requests, bytes := t.asks(r, 1)
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
func (t *Tenant) ask(node string, n ask) *internalv1.QuotaAsk {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.home != node {
		return nil
	}
	requests, bytes := t.asks(t.rates.Load(), n.ahead)
	return &internalv1.QuotaAsk{
		Tenant: string(t.id), Lease: t.lease, Requests: askProto(requests), Bytes: askProto(bytes),
	}
}

// asks needs mu.
func (t *Tenant) asks(r *rates, ahead int64) (requests, bytes rateAsk) {
	urgent := t.urged.Swap(false)
	of := func(l *lane, rate quota.Rate) rateAsk {
		if rate.Unlimited() {
			l.forget()
			return rateAsk{}
		}
		ask := rateAsk{Ask: l.ask(rate, urgent, ahead), rate: rate}
		ask.Node, ask.Lease = t.view.self, t.lease
		if !l.levelAt.IsZero() {
			level := l.level
			ask.level = &level
		}
		return ask
	}
	return of(&t.requests, r.requests), of(&t.bytes, r.bytes)
}

// granted takes over a home's answer, unless a later one came before.
func (t *Tenant) granted(number uint64, requests, bytes rateGrant, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if number <= t.answered {
		return
	}
	t.answered = number
	t.grantedLocked(requests, bytes, now)
}

func (t *Tenant) grantedLocked(requests, bytes rateGrant, now time.Time) {
	r := t.rates.Load()
	if requests.limited && !r.requests.Unlimited() {
		t.requests.grant(r.requests, requests.granted, requests.level, now)
	}
	if bytes.limited && !r.bytes.Unlimited() {
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
