package route

import (
	"sync"
	"sync/atomic"

	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/shards/watch"
)

// counted is what counts the watches of a stream; they are of one tenant.
type counted struct {
	operation atomic.Pointer[meter.Operation]

	mu   sync.Mutex
	open int // watches, as they are counted
}

// begin counts for the tenant of the request that creates a watch.
func (c *counted) begin(operation meter.Operation) {
	if operation.Tenant() != nil && c.operation.Load() == nil {
		c.operation.Store(&operation)
	}
}

// tell counts what answers tell.
func (c *counted) tell(answers []watch.Answer) {
	operation := c.operation.Load()
	if operation == nil {
		return
	}
	var cost meter.Cost
	for i := range answers {
		for _, e := range answers[i].Events {
			cost.Add(meter.EventCost(eventBytes(e, answers[i].PrevKV)))
		}
	}
	if cost != (meter.Cost{}) {
		operation.Answered(cost)
	}
}

// watches counts how many watches are open by now.
func (c *counted) watches(now func() int) {
	operation := c.operation.Load()
	if operation == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	open := now()
	operation.Tenant().Watches(open - c.open)
	c.open = open
}

// eventBytes are the bytes of an event's keys and values.
func eventBytes(e *watch.Event, prevKV bool) int {
	bytes := len(e.Key) + len(e.Version.Value)
	if prevKV {
		bytes += len(e.PrevKV().GetKey()) + len(e.PrevKV().GetValue())
	}
	return bytes
}
