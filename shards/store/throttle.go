package store

import (
	"sync"
	"time"
)

// throttle spaces out writes so that they keep to a rate, all users together.
type throttle struct {
	bytesPerSecond int64 // 0 is no bound

	mu   sync.Mutex // guards what follows
	next time.Time  // when the bytes admitted so far are paid for
}

// wait admits n bytes once those before are paid for. It returns ErrStopped
// when stop is closed.
func (t *throttle) wait(n int, stop <-chan struct{}) error {
	delay := t.reserve(n)
	if delay <= 0 {
		select {
		case <-stop:
			return ErrStopped
		default:
			return nil
		}
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-stop:
		return ErrStopped
	case <-timer.C:
		return nil
	}
}

func (t *throttle) reserve(n int) time.Duration {
	if t.bytesPerSecond == 0 {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.next.Before(now) {
		t.next = now
	}
	delay := t.next.Sub(now)
	t.next = t.next.Add(time.Duration(float64(n) / float64(t.bytesPerSecond) * float64(time.Second)))
	return delay
}
