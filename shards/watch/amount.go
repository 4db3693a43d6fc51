package watch

import (
	"sync/atomic"

	"github.com/flotillakv/flotilla/shards/fair"
)

// amount is the bytes of one kind that a tenant has, and that all tenants have.
type amount struct {
	own atomic.Int64
	all *atomic.Int64
}

func (a *amount) Load() int64 { return a.own.Load() }

// Add counts bytes, which may be negative, and returns what the tenant has then.
func (a *amount) Add(bytes int64) int64 {
	a.all.Add(bytes)
	return a.own.Add(bytes)
}

// roomTenants is how many tenants with all that one may have fill the room of all.
const roomTenants = 4

// most is how much a tenant may have now that may have tenantMax at most: its share of
// what all leave free of so much for each of roomTenants, and less than nothing if they
// leave nothing.
func (a *amount) most(tenantMax int64) int64 {
	room := roomTenants * tenantMax
	free := room - a.all.Load()
	if free <= 0 {
		return -1
	}
	return min(tenantMax, int64(fair.Share(int(free), int(room))))
}
