package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

const (
	// fillKeys is how many keys a Fill writes at most: what a transaction of
	// etcd takes by default.
	fillKeys = 128
	// fillers is how many Fills run at the same time.
	fillers = 8
)

// preload writes all keys.
func preload(ctx context.Context, s *side, d data, p *progress) error {
	p.begin("preload "+s.name, d.keys, "keys")
	err := inParallel(ctx, fillers, (d.keys+fillKeys-1)/fillKeys, func(ctx context.Context, batch int) error {
		rng := rand.New(rand.NewPCG(0, uint64(batch)))
		first := batch * fillKeys
		pairs := make([]pair, min(fillKeys, d.keys-first))
		for i := range pairs {
			pairs[i] = pair{keyName(first + i), d.value(rng)}
		}
		if err := s.client(batch).Fill(ctx, pairs); err != nil {
			return err
		}
		p.add(len(pairs))
		return nil
	})
	if err != nil {
		return fmt.Errorf("preload %s: %w", s.name, err)
	}
	p.end()
	return nil
}

// inParallel calls do for 0 to n-1 from so many goroutines, in about this order.
// The first error ends it.
func inParallel(ctx context.Context, goroutines, n int, do func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var running sync.WaitGroup
	for range goroutines {
		running.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	running.Wait()
	return context.Cause(ctx)
}
