package replica

import (
	"math"
	"sync/atomic"
	"time"
)

// A Clock is a node's estimate of a shard's clock, which deadlines such as those
// of leases are told by. The shard's clock counts the milliseconds for which the
// shard was served: it moves with monotonic clocks, so neither setting a node's
// clock nor the difference between two nodes' clocks moves it, and it stands
// still while no node runs.
//
// Each log entry carries the proposer's estimate, and a machine's clock is the
// greatest that it applied. The estimate goes on from there:
//
//	estimate(now) = max over the entries applied of (entry's clock + time since it was applied)
//
// So it never runs faster than time does, whoever leads: an entry's clock is an
// estimate that was made before the entry was applied. Nor does it lose the time
// that each entry takes on its way: an entry that is behind the estimate does
// not move it.
//
// Safe for concurrent use.
type Clock struct {
	monotonic func() time.Duration
	// offset is the shard's clock when monotonic is 0, in nanoseconds.
	offset atomic.Int64
}

// NewClock makes a clock that stands at 0. monotonic tells the time since some
// fixed moment; it never goes backwards.
func NewClock(monotonic func() time.Duration) *Clock {
	c := &Clock{monotonic: monotonic}
	c.offset.Store(-int64(monotonic()))
	return c
}

// SystemMonotonic is the monotonic time since it was called, as NewClock takes
// it.
func SystemMonotonic() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

// Observe notes that the shard's clock was at clockMS in an entry that has just
// been applied.
func (c *Clock) Observe(clockMS uint64) {
	offset := int64(min(clockMS, math.MaxInt64/uint64(time.Millisecond)))*int64(time.Millisecond) - int64(c.monotonic())
	for {
		present := c.offset.Load()
		if offset <= present || c.offset.CompareAndSwap(present, offset) {
			return
		}
	}
}

// NowMS is the estimate in milliseconds.
func (c *Clock) NowMS() uint64 {
	return uint64(max(0, c.offset.Load()+int64(c.monotonic()))) / uint64(time.Millisecond)
}
