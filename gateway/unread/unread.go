// Package unread bounds the memory that answers take which callers have asked for and
// not taken, over all front doors of a node.
package unread

import (
	"sync"
	"sync/atomic"

	"github.com/flotillakv/flotilla/shards/fair"
	"github.com/flotillakv/flotilla/tenancy"
)

// BytesMax bounds the answers of all tenants, in bytes. It is the same on all machines:
// a tenant has a quarter of it at most, which is two of the largest answers of the etcd
// API, and what can be answered must not depend on the node that a caller happens to
// reach. Only callers that take no answers bring it about, and their streams end.
const BytesMax = 1 << 30

// Answers counts the bytes of answers that were not taken, by tenant. A tenant that has
// none, and none that will be counted, costs nothing. Safe for concurrent use.
//
//	N1: all together are at most the bound.
//	N2: what a tenant has keeps to fair.Fits, so that tenants whose callers take
//	    nothing leave room for others, however many they are; but as little as the
//	    16,384th part of the bound each may have while there is any room.
type Answers struct {
	max   int64
	total atomic.Int64

	mu       sync.Mutex
	byTenant map[tenancy.TenantID]*Part
}

// New makes a count that is bounded to so many bytes.
func New(bytesMax int) *Answers {
	return &Answers{max: int64(bytesMax), byTenant: make(map[tenancy.TenantID]*Part)}
}

// Open returns the tenant's part, for one more user, who closes it.
func (a *Answers) Open(tenant tenancy.TenantID) *Part {
	a.mu.Lock()
	defer a.mu.Unlock()
	own := a.byTenant[tenant]
	if own == nil {
		own = &Part{answers: a, tenant: tenant}
		a.byTenant[tenant] = own
	}
	own.users++
	return own
}

// small is what each tenant may have while there is any room.
func (a *Answers) small() int64 { return a.max / 16384 }

// Bytes is what all have.
func (a *Answers) Bytes() int { return int(a.total.Load()) }

// A Part is what one tenant has.
type Part struct {
	answers *Answers
	tenant  tenancy.TenantID
	users   int // guarded by answers.mu

	taking sync.Mutex   // of those who add to bytes
	bytes  atomic.Int64 // never more than they have in answers.total
}

// Close ends one use of the part, which has given back what it took.
func (c *Part) Close() {
	a := c.answers
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.users--; c.users == 0 {
		delete(a.byTenant, c.tenant)
	}
}

// Take counts so many bytes more, unless there is no room for them. What is refused is
// not counted for a moment either: others could be refused for it.
func (c *Part) Take(bytes int) bool {
	n, a := int64(bytes), c.answers
	c.taking.Lock()
	defer c.taking.Unlock()
	for {
		used, held := a.total.Load(), c.bytes.Load()
		if used+n > a.max || held+n > a.small() && !fair.Fits(int(held), bytes, int(used), int(a.max/4), int(a.max)) {
			return false
		}
		if a.total.CompareAndSwap(used, used+n) {
			c.bytes.Add(n)
			return true
		}
	}
}

// GiveBack counts bytes no more that were taken.
func (c *Part) GiveBack(bytes int) {
	c.bytes.Add(-int64(bytes))
	c.answers.total.Add(-int64(bytes))
}

// Max is how many bytes the tenant may have now.
func (c *Part) Max() int {
	a := c.answers
	free := int(a.max - a.total.Load())
	return max(min(free, int(a.small())), min(int(a.max/4), fair.Share(free, int(a.max))))
}

// Full tells whether the tenant has all that it may have.
func (c *Part) Full() bool { return c.bytes.Load() > 0 && int(c.bytes.Load()) >= c.Max() }
