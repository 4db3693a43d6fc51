package faultnet

import (
	"sync"
	"sync/atomic"
	"time"
)

// link carries bytes from one node to another, on any number of connections.
type link struct {
	carried atomic.Int64

	mu        sync.Mutex
	condition Condition
	changed   chan struct{} // closed when the condition changes
}

func newLink() *link { return &link{changed: make(chan struct{})} }

func (l *link) set(c Condition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.condition == c {
		return
	}
	l.condition = c
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *link) state() (Condition, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.condition, l.changed
}

// pass waits until bytes that were sent at a moment may arrive. It returns false
// if the connection ended before.
func (l *link) pass(sent time.Time, size int, ended <-chan struct{}) bool {
	for {
		c, changed := l.state()
		if c.Cut {
			select {
			case <-changed:
				continue
			case <-ended:
				return false
			}
		}
		wait := time.Until(sent.Add(c.Delay))
		if c.BytesPerSecond > 0 {
			// Counted from when their turn came: one chunk after the other.
			wait = max(wait, 0) + time.Duration(size)*time.Second/time.Duration(c.BytesPerSecond)
		}
		if wait <= 0 {
			return true
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
			if now, _ := l.state(); !now.Cut {
				return true
			}
		case <-changed: // as it is now
			timer.Stop()
		case <-ended:
			timer.Stop()
			return false
		}
	}
}
