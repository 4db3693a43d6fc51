package meter

import "github.com/flotillakv/flotilla/tenancy"

// HomeOf is the node that is the home of a tenant.
func HomeOf(m *Meter, tenant tenancy.TenantID) string { return m.nodes.now().home(tenant) }

// Sizes is how many tenants and homes a meter has, and how many tenants are asked
// for at each tick.
func Sizes(m *Meter) (tenants, homes, active int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int(m.tenantsN.Load()), int(m.homesN.Load()), len(m.active)
}

// Lease has a tenant spend what is in hand, of which there is a lot.
func Lease(a *Tenant) {
	a.begin()
	a.leased.Store(true)
	a.direct.Store(nil)
	for _, l := range []*lane{&a.requests, &a.bytes} {
		l.idle.Store(false)
		l.limit.Store(1 << 62)
	}
}
