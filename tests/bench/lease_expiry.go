package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

const (
	expiring    = 1000
	expiringTTL = 3 * time.Second
	// expiryPoll is how often the keys of expiring leases are listed: the
	// resolution of when they ended.
	expiryPoll = 10 * time.Millisecond
)

// measureExpiry grants leases with a key each, does not keep them alive, and
// notes when the keys are gone.
func measureExpiry(ctx context.Context, ns *flotilla.Namespace) (expirySpread, error) {
	var mu sync.Mutex
	due := make(map[string]time.Time)
	err := inParallel(ctx, 8, expiring, func(ctx context.Context, i int) error {
		lease, err := ns.Leases.Grant(ctx, expiringTTL, nil)
		if err != nil {
			return err
		}
		key := fmt.Sprintf("expiring/%d", i)
		granted := time.Now()
		if _, err := ns.KV.Put(ctx, key, nil, &flotilla.PutOptions{Lease: lease.ID}); err != nil {
			return err
		}
		mu.Lock()
		due[key] = granted.Add(expiringTTL)
		mu.Unlock()
		return wait(ctx, 10*time.Millisecond) // so that they end one after the other
	})
	if err != nil {
		return expirySpread{}, err
	}
	return watchExpiry(ctx, ns.KV, due)
}

// watchExpiry lists the keys again and again until they are gone.
func watchExpiry(ctx context.Context, kv *flotilla.KV, due map[string]time.Time) (expirySpread, error) {
	var late []time.Duration
	for len(due) > 0 {
		left := make(map[string]bool)
		for found, err := range kv.Range(ctx, flotilla.Prefix("expiring/"), &flotilla.RangeOptions{KeysOnly: true}) {
			if err != nil {
				return expirySpread{}, err
			}
			left[found.Key] = true
		}
		now := time.Now()
		for key, at := range due {
			if left[key] {
				if now.Sub(at) > time.Minute {
					return expirySpread{}, errors.New("leases do not end")
				}
				continue
			}
			if now.Before(at) {
				return expirySpread{}, fmt.Errorf("the lease of %s ended %s before its TTL", key, at.Sub(now))
			}
			late = append(late, now.Sub(at))
			delete(due, key)
		}
		if err := wait(ctx, expiryPoll); err != nil {
			return expirySpread{}, err
		}
	}
	return newExpirySpread(late), nil
}
