package meter

import (
	"sync"
	"sync/atomic"
	"time"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// counters are what a tenant has used at this gateway and what was not taken yet.
type counters struct {
	requests, readUnits, writeUnits, bytesIn, bytesOut atomic.Uint64
	// dirty is set while the tenant is noted as one that has used something.
	dirty   atomic.Bool
	watches watchTime
}

// watchTime is how long the watches of a tenant were open, added up.
type watchTime struct {
	mu    sync.Mutex
	open  int
	since time.Time     // until when it is added up
	sum   time.Duration // that was not taken
}

// add counts more watches, or fewer.
func (w *watchTime) add(watches int, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addUp(now)
	w.open += watches
}

func (w *watchTime) addUp(now time.Time) {
	if d := now.Sub(w.since); d > 0 {
		w.sum += time.Duration(w.open) * d
	}
	w.since = now
}

// take takes the whole seconds.
func (w *watchTime) take(now time.Time) (seconds uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addUp(now)
	seconds = uint64(w.sum / time.Second)
	w.sum %= time.Second
	return seconds
}

func (w *watchTime) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open
}

// take takes what was counted, and leaves nothing.
func (c *counters) take(now time.Time) *flotillav1.Usage {
	// First, so that what is counted meanwhile is noted again.
	c.dirty.Store(false)
	return &flotillav1.Usage{
		Requests: c.requests.Swap(0), ReadUnits: c.readUnits.Swap(0), WriteUnits: c.writeUnits.Swap(0),
		BytesIn: c.bytesIn.Swap(0), BytesOut: c.bytesOut.Swap(0), WatchSeconds: c.watches.take(now),
	}
}

// isEmpty tells whether nothing was used.
func isEmpty(u *flotillav1.Usage) bool {
	return u.GetRequests() == 0 && u.GetReadUnits() == 0 && u.GetWriteUnits() == 0 &&
		u.GetBytesIn() == 0 && u.GetBytesOut() == 0 && u.GetWatchSeconds() == 0
}

// countRequest counts requests that were let in.
func (t *Tenant) countRequest(requests, bytes int) {
	t.used.requests.Add(uint64(requests))
	t.used.bytesIn.Add(uint64(bytes))
	t.note()
}

// countCost counts what was answered.
func (t *Tenant) countCost(cost Cost) {
	if cost == (Cost{}) {
		return
	}
	t.used.readUnits.Add(cost.ReadUnits)
	t.used.writeUnits.Add(cost.WriteUnits)
	t.used.bytesOut.Add(uint64(cost.Bytes))
	t.note()
}

// note has what the tenant has used taken with the next collection.
func (t *Tenant) note() {
	if t.meter.ledger.kept == nil {
		return
	}
	if !t.used.dirty.Load() && t.used.dirty.CompareAndSwap(false, true) {
		t.meter.ledger.note(t)
	}
}

// Watches counts watches that were opened, or, below 0, that have ended.
func (t *Tenant) Watches(more int) {
	if t == nil || more == 0 {
		return
	}
	t.used.watches.add(more, t.meter.cfg.Now())
	if t.meter.ledger.kept != nil {
		t.meter.ledger.watch(t)
	}
	t.note()
}
