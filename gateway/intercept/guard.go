package intercept

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// pace is how often logins may fail: burst at once, and one more after each every.
type pace struct {
	burst int
	every time.Duration
}

// One credential may fail 60 times a minute from one place, all credentials together
// 1,200 times. So a forgotten client whose key was revoked keeps itself out, and not
// all that is behind the same address.
//
//nolint:gochecknoglobals // constants in all but their type
var (
	paceOfCredential = pace{burst: 20, every: time.Second}
	paceOfPlace      = pace{burst: 400, every: 50 * time.Millisecond}
)

// failuresKept bounds the places and credentials that are remembered, the last ones.
const failuresKept = 65_536

// A Guard slows those down who try credentials, and counts what failed. A place is
// an IPv4 address, or the 64 bits of an IPv6 address that a provider gives to one
// customer. What has failed too often is refused before the credential is looked at,
// so a right one tells nothing either. Safe for concurrent use.
type Guard struct {
	now    func() time.Time
	failed *prometheus.CounterVec

	mu sync.Mutex
	// until is when the failures are forgotten, each of which moves it on.
	until *simplelru.LRU[suspect, time.Time]
}

// suspect is a credential's id at a place; of all of the place if there is none.
type suspect struct {
	place netip.Prefix
	id    string
}

// NewGuard makes a guard and registers its metrics.
func NewGuard(now func() time.Time, reg prometheus.Registerer) *Guard {
	until, _ := simplelru.NewLRU[suspect, time.Time](failuresKept, nil) // it fails for a size of 0 alone
	g := &Guard{now: now, until: until, failed: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "flotilla_gateway_failed_logins_total",
		Help: "Requests with a credential that is malformed, unknown, expired or revoked (wrong), or refused because too many of these came before (refused).",
	}, []string{"outcome"})}
	reg.MustRegister(g.failed)
	return g
}

// admit refuses, with a *tenancy.QuotaError, what has failed too often.
func (g *Guard) admit(address, id string) error {
	place, ok := placeOf(address)
	if !ok {
		return nil
	}
	now := g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, of := range []struct {
		who  suspect
		pace pace
	}{{suspect{place, id}, paceOfCredential}, {suspect{place: place}, paceOfPlace}} {
		until, ok := g.until.Peek(of.who)
		if !ok || of.who.id == "" && of.pace == paceOfCredential {
			continue // nothing has failed, or the credential has no id: its place alone counts
		}
		if over := until.Sub(now) - time.Duration(of.pace.burst-1)*of.pace.every; over > 0 {
			g.failed.WithLabelValues("refused").Inc()
			return &tenancy.QuotaError{Limit: tenancy.LimitFailedLogins, Value: uint64(time.Minute / of.pace.every), RetryAfter: over}
		}
	}
	return nil
}

// note notes that a credential was wrong.
func (g *Guard) note(address, id string) {
	g.failed.WithLabelValues("wrong").Inc()
	place, ok := placeOf(address)
	if !ok {
		return
	}
	now := g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.move(suspect{place: place}, now, paceOfPlace)
	if id != "" {
		g.move(suspect{place, id}, now, paceOfCredential)
	}
}

// move needs mu.
func (g *Guard) move(who suspect, now time.Time, p pace) {
	until, _ := g.until.Get(who)
	if until.Before(now) {
		until = now
	}
	g.until.Add(who, until.Add(p.every))
}

// placeOf is where an address is, with or without a port.
func placeOf(address string) (netip.Prefix, bool) {
	var ip netip.Addr
	if with, err := netip.ParseAddrPort(address); err == nil {
		ip = with.Addr()
	} else if ip, err = netip.ParseAddr(address); err != nil {
		return netip.Prefix{}, false
	}
	ip = ip.Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	place, err := ip.Prefix(bits)
	return place, err == nil
}

// guarded looks up who a credential stands for, unless it has failed too often from
// this address. The id is the public part of the credential, or its hash; "" if it has neither.
func guarded[T any](g *Guard, address, id string, look func() (T, error)) (T, error) {
	if err := g.admit(address, id); err != nil {
		var none T
		return none, err
	}
	found, err := look()
	if errors.Is(err, tenancy.ErrUnauthenticated) && !errors.Is(err, auth.ErrNoCredential) {
		g.note(address, id)
	}
	return found, err
}
