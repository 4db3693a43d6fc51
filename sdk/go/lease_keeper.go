package flotilla

import (
	"container/heap"
	"context"
	mathrand "math/rand/v2"
	"sync"
	"time"
)

const (
	// earlyPart is the part of its TTL, one in so many, by which a lease may be
	// renewed earlier than planned to go with others.
	earlyPart = 30
	// renewalsMax is how many leases are renewed in one round.
	renewalsMax = 20_000
)

// A keeper keeps the leases alive that a client holds. One goroutine knows when
// each is to be renewed and when it is surely lost; a second one brings renewals
// to the server, round by round over one stream, and may be held up without
// holding up the first. Both run only while leases are held.
//
//	K1: a lease that was not renewed is told to be lost no later than its TTL
//	    after the last renewal that succeeded was sent: the server counts from
//	    later on, so nobody else owns it before.
//	K2: each lease is renewed after a third of its TTL, so that two attempts
//	    may fail.
type keeper struct {
	open func(context.Context) (renewalStream, error)

	mu     sync.Mutex
	leases keptLeases
	// line is the leases that are due, in their order; those that were given up
	// meanwhile are passed over.
	line    []*Lease
	changed chan struct{} // holds a token when there is something new to wait for
	running bool
	closed  bool
	stop    context.CancelFunc // of what runs

	done sync.WaitGroup
}

// keeping is what the keeper knows of a lease; its mutex guards it.
type keeping struct {
	// place is the index among the kept leases; -1 when it is not kept.
	place int
	// renewAt is when it is to be renewed, lostAt when it surely is lost.
	renewAt, lostAt time.Time
	// renewing is whether it is in line, or in the present round.
	renewing bool
	// failures counts the attempts since the last success, err is why the last
	// one failed.
	failures int
	err      error
}

// next is when something is to be done about a lease.
func (k *keeping) next() time.Time {
	if k.renewing || k.lostAt.Before(k.renewAt) {
		return k.lostAt
	}
	return k.renewAt
}

func newKeeper(open func(context.Context) (renewalStream, error)) *keeper {
	return &keeper{open: open, changed: make(chan struct{}, 1), stop: func() {}}
}

// add keeps a lease alive that was granted or renewed by a request that was
// made at the moment asked.
func (k *keeper) add(l *Lease, asked time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return unreachable(ErrClosed, false)
	}
	l.keeping = keeping{lostAt: asked.Add(l.ttl), renewAt: asked.Add(firstRenewal(l.ttl))}
	heap.Push(&k.leases, l)
	if !k.running {
		k.running = true
		ctx, stop := context.WithCancel(context.Background()) //nolint:forbidigo // leases outlive every call; close ends it
		k.stop = stop
		k.done.Go(func() { k.run(ctx) })
	}
	if l.keeping.place == 0 {
		k.signal()
	}
	return nil
}

// remove keeps a lease alive no longer.
func (k *keeper) remove(l *Lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(l)
	if len(k.leases) == 0 {
		k.signal()
	}
}

func (k *keeper) drop(l *Lease) {
	if l.keeping.place >= 0 {
		heap.Remove(&k.leases, l.keeping.place)
	}
}

func (k *keeper) signal() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// close gives all leases up and waits for the goroutines.
func (k *keeper) close() {
	k.mu.Lock()
	k.closed = true
	given := k.leases
	k.leases, k.line = nil, nil
	for _, l := range given {
		l.keeping.place = -1
	}
	k.stop()
	k.mu.Unlock()
	k.done.Wait()
	for _, l := range given {
		l.end(unreachable(ErrClosed, false))
	}
}

// run does what is to be done until no leases are left.
func (k *keeper) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	r := newRenewer(k.open)
	var worker sync.WaitGroup
	worker.Go(func() { r.run(ctx) })
	defer worker.Wait()
	defer cancel()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for busy := false; ; {
		now := time.Now()
		lost := k.sort(now)
		for _, l := range lost {
			l.end(leaseLost(l.id, "could not be renewed in time", l.keeping.err))
		}
		if !busy {
			if due := k.nextRound(); len(due) > 0 {
				r.begin <- due
				busy = true
			}
		}
		wait, ok := k.wait(now)
		if !ok {
			return
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-k.changed:
		case outcomes := <-r.end:
			busy = false
			k.note(outcomes)
		}
	}
}

// sort takes out the leases that are lost, and puts those that are due in line:
// once there is one, also those that soon will be.
func (k *keeper) sort(now time.Time) (lost []*Lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	begun := false
	for len(k.leases) > 0 {
		l := k.leases[0]
		until := now
		if begun {
			until = now.Add(l.ttl / earlyPart)
		}
		switch {
		case !l.keeping.lostAt.After(now):
			k.drop(l)
			lost = append(lost, l)
		case !l.keeping.renewing && !l.keeping.renewAt.After(until):
			l.keeping.renewing = true
			heap.Fix(&k.leases, 0)
			k.line = append(k.line, l)
			begun = true
		default:
			return lost
		}
	}
	return lost
}

// nextRound takes leases to renew from the line.
func (k *keeper) nextRound() (due []*Lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for n < len(k.line) && len(due) < renewalsMax {
		if k.line[n].keeping.place >= 0 {
			due = append(due, k.line[n])
		}
		n++
	}
	if k.line = k.line[n:]; len(k.line) == 0 {
		k.line = nil
	}
	return due
}

// wait is for how long nothing is to be done. ok is false if there are no
// leases: then the keeper runs no longer, and the next lease starts it again.
func (k *keeper) wait(now time.Time) (d time.Duration, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.leases) == 0 {
		k.running = false
		return 0, false
	}
	return k.leases[0].keeping.next().Sub(now), true
}

// note plans what comes after a round.
func (k *keeper) note(outcomes []renewal) {
	k.mu.Lock()
	var gone []*Lease
	now := time.Now()
	for _, o := range outcomes {
		p := &o.lease.keeping
		if p.place < 0 {
			continue // it was given up meanwhile
		}
		p.renewing = false
		switch {
		case o.err != nil:
			p.failures++
			p.err = o.err
			p.renewAt = now.Add(backoff(p.failures + 3)) // 80 ms at most at first
		case o.ttl == 0:
			gone = append(gone, o.lease)
			k.drop(o.lease)
			continue
		case o.ttl > 0:
			p.failures, p.err = 0, nil
			p.lostAt, p.renewAt = o.sent.Add(o.ttl), o.sent.Add(nextRenewal(o.ttl))
		default: // it was not asked for
			p.renewAt = now
		}
		heap.Fix(&k.leases, p.place)
	}
	k.mu.Unlock()
	for _, l := range gone {
		l.end(leaseLost(l.id, "does not exist or has expired", nil))
	}
}

// firstRenewal spreads leases that began together.
func firstRenewal(ttl time.Duration) time.Duration { return ttl/6 + jitter(ttl/6) }

// nextRenewal is a little less than a third.
func nextRenewal(ttl time.Duration) time.Duration { return ttl*8/25 + jitter(ttl/75) }

func jitter(d time.Duration) time.Duration {
	return mathrand.N(max(d, 1)) //nolint:gosec // spreads renewals, guards nothing
}

// keptLeases implements heap.Interface: what is to be done first is in front.
type keptLeases []*Lease

func (h keptLeases) Len() int { return len(h) }

func (h keptLeases) Less(i, j int) bool {
	return h[i].keeping.next().Before(h[j].keeping.next())
}

func (h keptLeases) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].keeping.place, h[j].keeping.place = i, j
}

// Push implements heap.Interface.
func (h *keptLeases) Push(x any) {
	if l, ok := x.(*Lease); ok {
		l.keeping.place = len(*h)
		*h = append(*h, l)
	}
}

// Pop implements heap.Interface.
func (h *keptLeases) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	l.keeping.place = -1
	return l
}
