package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// sample is what a caller measures in a slice.
type sample struct {
	latencies []time.Duration
	end       time.Time
}

// runSlice puts a server under load and measures what it takes.
func runSlice(ctx context.Context, s *side, w workload, callers []*caller, length time.Duration) (sliceResult, error) {
	var r sliceResult
	before, err := s.server.usage()
	if err != nil {
		return r, err
	}
	clientBefore, err := ownCPU()
	if err != nil {
		return r, err
	}
	r.latencies, r.elapsed, err = runLoad(ctx, w, callers, length)
	if err != nil {
		return r, fmt.Errorf("%s of %s with %d callers: %w", w.name, s.name, len(callers), err)
	}
	clientAfter, err := ownCPU()
	if err != nil {
		return r, err
	}
	after, err := s.server.usage()
	if err != nil {
		return r, err
	}
	r.serverCPU, r.clientCPU, r.memory = after.CPU-before.CPU, clientAfter-clientBefore, after.memory
	return r, nil
}

// runLoad lets all callers call, each as soon as its last call was answered,
// for about so long. The first error ends it.
func runLoad(ctx context.Context, w workload, callers []*caller, length time.Duration) ([]time.Duration, time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	start := make(chan struct{})
	var begin time.Time // set before start is closed
	for _, c := range callers {
		running.Go(func() {
			<-start
			if err := c.call(ctx, w, begin.Add(length)); err != nil {
				cancel(err)
			}
		})
	}
	begin = time.Now()
	close(start)
	running.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, 0, err
	}
	var all []time.Duration
	end := begin
	for _, c := range callers {
		all = append(all, c.latencies...)
		if c.end.After(end) {
			end = c.end
		}
	}
	return all, end.Sub(begin), nil
}

// call makes operations, at least one, until the deadline has passed.
func (c *caller) call(ctx context.Context, w workload, deadline time.Time) error {
	c.latencies = c.latencies[:0]
	for began := time.Now(); ; {
		if err := w.op(ctx, c); err != nil {
			return err
		}
		c.end = time.Now()
		c.latencies = append(c.latencies, c.end.Sub(began))
		if began = c.end; !began.Before(deadline) {
			return nil
		}
	}
}

// prepareCallers does what the workload needs done before.
func prepareCallers(ctx context.Context, w workload, callers []*caller) error {
	if w.prepare == nil {
		return nil
	}
	_, _, err := runLoad(ctx, workload{name: w.name, op: w.prepare}, callers, 0)
	return err
}

// rest lets a server finish what it still does for the slice before, and frees
// what this process remembers of it, so that both sides find the same machine.
func rest(ctx context.Context, pause time.Duration) error {
	runtime.GC()
	return wait(ctx, pause)
}

// wait waits unless the run ends first.
func wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
