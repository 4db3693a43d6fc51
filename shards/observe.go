package shards

import (
	"sync"
	"sync/atomic"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/tenancy"
)

// observers are told when namespaces change. They get a token, not the events:
// the history is on disk, and an observer that is slow reads it later.
type observers struct {
	any  atomic.Bool // whether anybody observes: most changes are of nobody's interest
	mu   sync.RWMutex
	byNS map[tenancy.NamespaceID][]chan struct{}
}

// Observe returns a channel that holds a token whenever the namespace got new
// revisions since the last one was taken, and a function that ends it.
func (h *Host) Observe(ns tenancy.NamespaceID) (changed <-chan struct{}, end func()) {
	o := &h.observers
	ch := make(chan struct{}, 1)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byNS == nil {
		o.byNS = make(map[tenancy.NamespaceID][]chan struct{})
	}
	o.byNS[ns] = append(o.byNS[ns], ch)
	o.any.Store(true)
	return ch, func() { o.remove(ns, ch) }
}

func (o *observers) remove(ns tenancy.NamespaceID, ch chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	kept := o.byNS[ns][:0]
	for _, other := range o.byNS[ns] {
		if other != ch {
			kept = append(kept, other)
		}
	}
	o.byNS[ns] = kept
	if len(kept) == 0 {
		delete(o.byNS, ns)
	}
	o.any.Store(len(o.byNS) > 0)
}

func (o *observers) notify(changes []machine.Change) {
	if !o.any.Load() {
		return
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	for _, c := range changes {
		for _, ch := range o.byNS[c.Namespace] {
			select {
			case ch <- struct{}{}:
			default: // it has a token already
			}
		}
	}
}
