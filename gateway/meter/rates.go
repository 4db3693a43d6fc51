package meter

import (
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/quota"
)

// rates are those of a tenant's limits. They are not changed.
type rates struct {
	// As they are in the limits.
	requestsPerSecond, requestsBurst, bytesPerSecond, bytesBurst int
	// As they are held.
	requests, bytes quota.Rate
	limited         bool
}

func ratesOf(l *tenancy.Limits) *rates {
	r := &rates{
		requestsPerSecond: l.RequestsPerSecond, requestsBurst: l.RequestsBurst,
		bytesPerSecond: l.BytesPerSecond, bytesBurst: l.BytesBurst,
		requests: rateOf(l.RequestsPerSecond, l.RequestsBurst), bytes: rateOf(l.BytesPerSecond, l.BytesBurst),
	}
	r.limited = !r.requests.Unlimited() || !r.bytes.Unlimited()
	return r
}

// tokensMax bounds rates and bursts: so much is no limit for anybody, and far from
// what numbers can hold.
const tokensMax = 1_000_000_000_000

// rateOf is a rate of the limits; a negative number is no limit.
func rateOf(perSecond, burst int) quota.Rate {
	return quota.Rate{
		PerSecond: min(uint64(max(perSecond, 0)), tokensMax), Burst: min(uint64(max(burst, 0)), tokensMax),
	}
}

// are tells whether they are those of the limits.
func (r *rates) are(l *tenancy.Limits) bool {
	return r.requestsPerSecond == l.RequestsPerSecond && r.requestsBurst == l.RequestsBurst &&
		r.bytesPerSecond == l.BytesPerSecond && r.bytesBurst == l.BytesBurst
}

// hold has the limits of a principal hold from now on: of a stream they may be a
// second old.
func (t *Tenant) hold(l *tenancy.Limits) {
	if !t.rates.Load().are(l) {
		t.rates.Store(ratesOf(l))
	}
}
