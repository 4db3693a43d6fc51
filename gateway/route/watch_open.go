package route

import "sync"

// OpenWatches are the streams of watches that are open at a front door, so that
// all can be ended when the node begins to stop. The zero value is ready for use.
type OpenWatches struct {
	mu    sync.Mutex
	open  map[*Watches]struct{}
	ended error
}

// Add notes a stream; the function that it returns takes it off again. After End
// the stream is ended at once.
func (o *OpenWatches) Add(w *Watches) (remove func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended != nil {
		w.End(o.ended)
		return func() {}
	}
	if o.open == nil {
		o.open = make(map[*Watches]struct{})
	}
	o.open[w] = struct{}{}
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.open, w)
	}
}

// End ends all streams, and those that are added later.
func (o *OpenWatches) End(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = err
	for w := range o.open {
		w.End(err)
	}
}
