package meter

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/flotillakv/flotilla/tenancy/quota"
)

// A lane is what a tenant has in hand of one rate. The totals are those of
// quota.Ask, and are in parts of quota.Milli like all that has no other unit.
type lane struct {
	// spent and limit are totals; what lies between them is in hand.
	spent, limit atomic.Int64
	// refused is what was wanted and refused since the last ask.
	refused atomic.Int64
	// low is what must be in hand for no ask to be urgent.
	low atomic.Int64
	// retryAt is when the home expects to have a token again, in nanoseconds since
	// 1970.
	retryAt atomic.Int64
	// ahead is up to which total may be spent on credit, because the home had that much
	// when it answered last. Answers come late, and are to asks of what was wanted before.
	ahead atomic.Int64
	// idle tells that nothing is in hand because nothing was wanted: what comes next
	// may be let in on credit.
	idle atomic.Bool

	// What follows is guarded by the tenant's mu.

	// told is the total that was granted, by the home or by the gateway itself, and
	// self is the part of the latter. The limit is more while there is credit.
	told, self int64
	// asked is the total spent at the last ask, want what was asked for then, and
	// before what was spent and refused in the time before it.
	asked, want, before int64
	// begins tells that the lane was idle until now.
	begins bool
	// level is how many tokens the home had at a time; zero is not known.
	level   float64
	levelAt time.Time
	// selfAt is until when the gateway has granted itself tokens; zero if it does not.
	selfAt time.Time
}

// tokens is a number of tokens in parts.
func tokens(n int) int64 { return int64(n) * quota.Milli }

// take spends n tokens if there is one in hand.
func (l *lane) take(n int) bool {
	for {
		spent := l.spent.Load()
		if spent+quota.Milli > l.limit.Load() {
			return false
		}
		if l.spent.CompareAndSwap(spent, spent+tokens(n)) {
			return true
		}
	}
}

// has tells whether there is a token in hand.
func (l *lane) has() bool { return l.spent.Load()+quota.Milli <= l.limit.Load() }

// isLow tells whether more should be asked for at once.
func (l *lane) isLow() bool { return l.limit.Load()-l.spent.Load() < l.low.Load() }

// retryAfter is when there may be a token again.
func (l *lane) retryAfter(now time.Time) time.Duration {
	return time.Duration(l.retryAt.Load() - now.UnixNano())
}

// lend begins to use a lane that was idle: what its home should have, but no more
// than creditFor brings, may be spent before the home was asked.
func (l *lane) lend(rate quota.Rate, now time.Time) {
	credit := float64(creditOf(rate)) / quota.Milli
	if !l.levelAt.IsZero() {
		credit = min(credit, l.level+rate.Over(now.Sub(l.levelAt)))
	}
	spent := l.spent.Load()
	owed := max(spent-l.told, 0) // on credit from before
	l.limit.Store(spent + max(int64(credit*quota.Milli)-owed, 0))
	l.low.Store(0)
	l.begins = true
	l.idle.Store(false)
}

// mayLend tells whether there is credit.
func (l *lane) mayLend() bool { return l.idle.Load() || l.ahead.Load() > l.limit.Load() }

// creditOf is what may be spent on credit at most.
func creditOf(rate quota.Rate) int64 { return int64(max(rate.Over(creditFor), 1) * quota.Milli) }

// learn notes how many tokens the home has.
func (l *lane) learn(level float64, now time.Time) { l.level, l.levelAt = level, now }

// ask notes what was spent, and returns what the home is told and asked. ahead is how
// many asks, with this one, are not answered yet.
func (l *lane) ask(rate quota.Rate, urgent bool, ahead int64) quota.Ask {
	spent := l.spent.Load()
	demand := spent - l.asked + l.refused.Swap(0)
	// What lasts until the answer to the next ask, if it goes on like this.
	want := max((ahead+1)*demand, ahead*l.before)
	if urgent {
		want = max(want, 2*l.want)
	}
	if l.begins { // how much it will be nobody knows
		want, l.begins = max(want, creditOf(rate)), false
	}
	l.asked, l.before = spent, demand
	l.want = min(want, int64(2*rate.Full())*quota.Milli)
	return quota.Ask{Spent: spent, Granted: l.told, Self: l.self, Want: l.want}
}

// grant takes over what the home has answered to the last ask.
func (l *lane) grant(rate quota.Rate, granted int64, level float64, now time.Time) {
	l.told, l.selfAt = granted, time.Time{}
	l.learn(level, now)
	l.limit.Store(granted)
	l.ahead.Store(granted + min(int64(level*quota.Milli), creditOf(rate)))
	l.retryAt.Store(now.Add(rate.Until(1 - level)).UnixNano())
	if l.want == 0 {
		l.idle.Store(true)
	}
	if granted-l.asked < l.want { // the home has no more: it is of no use to hurry
		l.low.Store(math.MinInt64)
	} else {
		l.low.Store(l.want / 2)
	}
}

// help grants the gateway its part of a rate, since the home cannot.
func (l *lane) help(rate quota.Rate, part int, now time.Time) {
	rate.PerSecond = max(rate.PerSecond/uint64(part), 1)
	rate.Burst /= uint64(part)
	since := now.Sub(l.selfAt)
	if l.selfAt.IsZero() {
		since = 0
	}
	l.selfAt = now
	room := int64(rate.Full()*quota.Milli) - (l.told - l.spent.Load())
	more := min(int64(rate.Over(since)*quota.Milli), max(room, 0))
	l.self += more
	l.told += more
	l.limit.Store(l.told)
	l.ahead.Store(l.told)
	l.low.Store(math.MinInt64)
	l.retryAt.Store(now.Add(rate.Until(float64(quota.Milli+l.spent.Load()-l.told) / quota.Milli)).UnixNano())
	if l.want == 0 {
		l.idle.Store(true)
	}
}

// forget makes the lane one of a rate without a limit.
func (l *lane) forget() {
	spent := l.spent.Load()
	l.told, l.asked, l.want, l.before = spent, spent, 0, 0
	l.limit.Store(spent)
	l.ahead.Store(spent)
	l.idle.Store(true)
}

// isSettled tells whether there is nothing to ask or to tell.
func (l *lane) isSettled() bool {
	return l.idle.Load() && l.spent.Load() <= l.asked && l.asked <= l.told
}
