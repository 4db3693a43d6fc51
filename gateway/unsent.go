package gateway

import (
	"sync"
	"sync/atomic"

	"github.com/flotillakv/flotilla/tenancy"
)

// tenantUnsentBytesMax is from how many bytes of answers not yet sent, on all
// pipelines of a tenant together, its reads are refused: a tenant can have any
// number of pipelines and take nothing from them.
const tenantUnsentBytesMax = 256 << 20

// unsentBytes counts the bytes of answers not yet sent, by tenant. A tenant
// without a pipeline takes no memory.
type unsentBytes struct {
	mu       sync.Mutex
	byTenant map[tenancy.TenantID]*tenantUnsent
}

type tenantUnsent struct {
	bytes     atomic.Int64
	pipelines int
}

// open returns the tenant's count for one more pipeline, which ends with done.
func (u *unsentBytes) open(tenant tenancy.TenantID) (count *atomic.Int64, done func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byTenant == nil {
		u.byTenant = make(map[tenancy.TenantID]*tenantUnsent)
	}
	t := u.byTenant[tenant]
	if t == nil {
		t = &tenantUnsent{}
		u.byTenant[tenant] = t
	}
	t.pipelines++
	return &t.bytes, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if t.pipelines--; t.pipelines == 0 {
			delete(u.byTenant, tenant)
		}
	}
}
