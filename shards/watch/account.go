package watch

import (
	"sync"
	"sync/atomic"

	"github.com/flotillakv/flotilla/tenancy"
)

// Accounts hold what the watches of each tenant take of this node: how many
// there are, on how many streams, the bytes of the events that wait for them,
// and of those that are on their way. An event that several watches wait for
// counts once. The zero value is ready for use.
type Accounts struct {
	mu       sync.Mutex
	byTenant map[tenancy.TenantID]*account

	// What all tenants have together.
	waiting, queued, sending atomic.Int64
}

// account is one tenant's, for as long as it has watches or streams of them.
type account struct {
	tenant           tenancy.TenantID
	watches, streams int          // guarded by Accounts.mu
	bytes            amount       // of what waits
	queued           amount       // bytes that wait to be matched
	recent           atomic.Int64 // bytes that are kept for watches that are behind
	sending          sending      // what is on its way
}

// open counts one more watch of a tenant, or refuses it with a
// *tenancy.QuotaError. Each is closed once.
func (a *Accounts) open(tenant tenancy.TenantID, watchesMax int) (*account, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	own := a.of(tenant)
	if watchesMax > 0 && own.watches >= watchesMax {
		return nil, &tenancy.QuotaError{Limit: "watches_max", Value: uint64(watchesMax)}
	}
	own.watches++
	a.byTenant[tenant] = own
	return own, nil
}

func (a *Accounts) close(own *account) {
	a.mu.Lock()
	defer a.mu.Unlock()
	own.watches--
	a.drop(own)
}

// openStream is open for a stream of watches.
func (a *Accounts) openStream(tenant tenancy.TenantID, streamsMax int) (*account, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	own := a.of(tenant)
	if streamsMax > 0 && own.streams >= streamsMax {
		return nil, &tenancy.QuotaError{Limit: "watch_streams_max", Value: uint64(streamsMax)}
	}
	own.streams++
	a.byTenant[tenant] = own
	return own, nil
}

func (a *Accounts) closeStream(own *account) {
	a.mu.Lock()
	defer a.mu.Unlock()
	own.streams--
	a.drop(own)
}

// of needs mu.
func (a *Accounts) of(tenant tenancy.TenantID) *account {
	if a.byTenant == nil {
		a.byTenant = make(map[tenancy.TenantID]*account)
	}
	if own := a.byTenant[tenant]; own != nil {
		return own
	}
	return &account{
		tenant: tenant, sending: newSending(&a.sending), bytes: amount{all: &a.waiting}, queued: amount{all: &a.queued},
	}
}

// drop needs mu.
func (a *Accounts) drop(own *account) {
	if own.watches == 0 && own.streams == 0 {
		delete(a.byTenant, own.tenant)
	}
}

// Watches is how many watches there are on this node.
func (a *Accounts) Watches() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, own := range a.byTenant {
		n += own.watches
	}
	return n
}

// referenceBytes is what each watch that waits for an event takes, besides the
// event itself.
const referenceBytes = 16

// hold counts an event that one more watch waits for.
func (a *account) hold(e *Event) {
	bytes := int64(referenceBytes)
	if e.refs.Add(1) == 1 {
		bytes += int64(e.size())
	}
	a.bytes.Add(bytes)
}

// release counts an event that one watch waits for no longer.
func (a *account) release(e *Event) {
	bytes := int64(referenceBytes)
	if e.refs.Add(-1) == 0 {
		bytes += int64(e.size())
	}
	a.bytes.Add(-bytes)
}

// WaitingBytes is what the events take that wait for watches on this node.
func (a *Accounts) WaitingBytes() int64 { return a.waiting.Load() }

// SendingBytes is what the answers take that callers are about to take.
func (a *Accounts) SendingBytes() int64 { return a.sending.Load() }
