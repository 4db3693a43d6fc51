package quota

import "time"

const (
	// gatherMin is for how long tokens gather at least, whatever the burst: nodes
	// that share a rate take their tokens in parts of about this size.
	gatherMin = 200 * time.Millisecond
	// debtMax is after how long without spending every debt is paid.
	debtMax = time.Minute
)

// Rate is how fast tokens come.
type Rate struct {
	// PerSecond is how many come in a second; 0 is no limit.
	PerSecond uint64
	// Burst is how many gather at most. Those of 200 ms always do, and one.
	Burst uint64
}

// Unlimited tells whether there is no limit.
func (r Rate) Unlimited() bool { return r.PerSecond == 0 }

// Over is how many tokens come in a time.
func (r Rate) Over(d time.Duration) float64 {
	return float64(r.PerSecond) * (float64(d) / float64(time.Second))
}

// Full is how many tokens there are after a long pause.
func (r Rate) Full() float64 { return max(float64(r.Burst), r.Over(gatherMin), 1) }

// A Bucket holds the tokens of one rate that were not spent. What has a cost that
// is known only afterwards goes into debt, and so does a request that costs more
// than there is: then nothing more is let in until the debt is paid. So over a long
// time no more is spent than comes, however large single requests are.
type Bucket struct {
	rate Rate
	// level is that of the moment `at`.
	//
	// Invariant: least <= level <= most.
	level, least, most float64
	at                 time.Time
}

// NewBucket makes a full bucket.
func NewBucket(rate Rate, now time.Time) Bucket {
	b := Bucket{at: now}
	b.become(rate)
	b.level = b.most
	return b
}

func (b *Bucket) become(rate Rate) {
	b.rate, b.least, b.most = rate, -rate.Over(debtMax), rate.Full()
}

// Rate is the bucket's rate.
func (b *Bucket) Rate() Rate { return b.rate }

// SetRate changes the rate from now on. A full bucket stays full.
func (b *Bucket) SetRate(rate Rate, now time.Time) {
	if rate == b.rate {
		return
	}
	wasFull := b.Full(now)
	b.become(rate)
	if wasFull {
		b.level = b.most
	}
	b.hold()
}

// Level is how many tokens there are; less than 0 is debt.
func (b *Bucket) Level(now time.Time) float64 {
	// A clock that went back is waited for.
	if d := now.Sub(b.at); d > 0 {
		b.level, b.at = b.level+b.rate.Over(d), now
		b.hold()
	}
	return b.level
}

// SetLevel makes it so many tokens, within the bucket's bounds.
func (b *Bucket) SetLevel(level float64, now time.Time) { b.Spend(b.Level(now)-level, now) }

// Full tells whether nothing was spent for so long that the bucket is as a new one.
func (b *Bucket) Full(now time.Time) bool { return b.Level(now) >= b.most }

// Take spends n tokens if there is one, even if there are not n. It tells whether
// it did.
func (b *Bucket) Take(n float64, now time.Time) bool {
	if b.Level(now) < 1 {
		return false
	}
	b.Spend(n, now)
	return true
}

// Spend spends n tokens, also those that there are not. Less than 0 gives some back.
func (b *Bucket) Spend(n float64, now time.Time) {
	b.level = b.Level(now) - n
	b.hold()
}

// Drain spends n tokens, or those that there are.
func (b *Bucket) Drain(n float64, now time.Time) {
	if level := b.Level(now); level > 0 {
		b.Spend(min(n, level), now)
	}
}

// Wait is after which time there is a token, if nobody else takes it.
func (b *Bucket) Wait(now time.Time) time.Duration {
	return b.rate.Until(1 - b.Level(now))
}

// Until is in which time so many tokens come, at most an hour.
func (r Rate) Until(tokens float64) time.Duration {
	if tokens <= 0 || r.Unlimited() {
		return 0
	}
	return time.Duration(min(tokens/float64(r.PerSecond), time.Hour.Seconds()) * float64(time.Second))
}

// hold keeps the level within its bounds.
func (b *Bucket) hold() {
	if b.level > b.most {
		b.level = b.most
	} else if b.level < b.least {
		b.level = b.least
	}
}
