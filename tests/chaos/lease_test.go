package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
	"github.com/flotillakv/flotilla/tests/process"
)

const (
	leasesPerRound = 40
	// keptTTL outlasts an outage, so a lease that is kept must never be lost.
	keptTTL = 20 * time.Second
)

// grantedLease is a lease with a key that nobody renews.
type grantedLease struct {
	id  int64
	key string
	ttl time.Duration
	// asked is when it was asked for: it must last for its TTL from then.
	asked time.Time
}

// TestLeasesOverKills kills a node again and again while it has leases: such as
// are kept alive, which must all be there at the end, and such as nobody
// renews, none of which may end before its TTL has passed, and all of which must
// end in time once the node runs.
func TestLeasesOverKills(t *testing.T) {
	t.Parallel()
	rounds := 2
	if process.Slow() {
		rounds = 30
	}
	random := rand.New(rand.NewPCG(process.Seed(t), 0))
	node := process.Dev(t)
	client := node.Client(t)
	ns := client.Namespace(node.Info.Namespace)

	var held []*flotilla.Lease
	for i := range 20 {
		lease, err := ns.Leases.Hold(t.Context(), keptTTL, nil)
		require.NoError(t, err)
		_, err = ns.KV.Put(t.Context(), fmt.Sprintf("kept/%d", i), nil, &flotilla.PutOptions{Lease: lease.ID()})
		require.NoError(t, err)
		held = append(held, lease)
	}
	var granted []grantedLease
	for round := range rounds {
		granted = append(granted, grantMany(t, ns, round, random)...)
		stop := watchForEarlyEnds(t, ns.KV, granted)
		moment(random, 0, 1500*time.Millisecond)
		node.Kill(t)
		moment(random, 0, 500*time.Millisecond)
		node.Start(t)
		moment(random, 0, 500*time.Millisecond)
		stop()
	}
	requireAllEnd(t, ns.KV, granted)
	for i, lease := range held {
		require.NoError(t, lease.Err())
		_, err := ns.KV.Get(t.Context(), fmt.Sprintf("kept/%d", i), nil)
		require.NoError(t, err, "the key of a lease that was kept alive")
	}
}

// grantMany grants leases at the same time; each gets a key.
func grantMany(t *testing.T, ns *flotilla.Namespace, round int, random *rand.Rand) []grantedLease {
	t.Helper()
	granted := make([]grantedLease, leasesPerRound)
	errs := make([]error, len(granted))
	var calls sync.WaitGroup
	for i := range granted {
		g := &granted[i]
		g.key, g.ttl = fmt.Sprintf("ends/%d-%d", round, i), time.Duration(1+random.IntN(4))*time.Second
		calls.Go(func() {
			g.asked = time.Now()
			lease, err := ns.Leases.Grant(t.Context(), g.ttl, nil)
			if err != nil {
				errs[i] = err
				return
			}
			g.id = lease.ID
			_, err = ns.KV.Put(t.Context(), g.key, nil, &flotilla.PutOptions{Lease: g.id})
			if errors.Is(err, flotilla.ErrLeaseNotFound) && time.Since(g.asked) > g.ttl {
				err = nil // the machine is so busy that its time was over
			}
			errs[i] = err
		})
	}
	calls.Wait()
	require.NoError(t, errors.Join(errs...))
	return granted
}

// watchForEarlyEnds reads the keys over and over: one that is gone before its
// lease's TTL has passed is a failure. The reads go on while the node is down.
func watchForEarlyEnds(t *testing.T, kv *flotilla.KV, granted []grantedLease) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for ctx.Err() == nil {
			left, err := keysLeft(ctx, kv)
			now := time.Now()
			if err != nil {
				continue // the node is down
			}
			for _, g := range granted {
				if !left[g.key] && now.Before(g.asked.Add(g.ttl)) {
					t.Errorf("%s is gone %s before the TTL of its lease has passed", g.key, g.asked.Add(g.ttl).Sub(now))
					return
				}
			}
		}
	})
	return func() {
		cancel()
		watcher.Wait()
	}
}

func keysLeft(ctx context.Context, kv *flotilla.KV) (map[string]bool, error) {
	left := make(map[string]bool)
	for found, err := range kv.Range(ctx, flotilla.Prefix("ends/"), &flotilla.RangeOptions{KeysOnly: true}) {
		if err != nil {
			return nil, err
		}
		left[found.Key] = true
	}
	return left, nil
}

// requireAllEnd waits for the ends of all leases. The node runs now, so the
// longest may last its TTL from here on, at most, and a second.
func requireAllEnd(t *testing.T, kv *flotilla.KV, granted []grantedLease) {
	t.Helper()
	var longest time.Duration
	for _, g := range granted {
		longest = max(longest, g.ttl)
	}
	started := time.Now()
	const slow = 5 * time.Second // of a machine that is busy with other tests
	require.Eventually(t, func() bool {
		left, err := keysLeft(t.Context(), kv)
		return err == nil && len(left) == 0
	}, longest+clockNoted+time.Second+slow, 20*time.Millisecond)
	t.Logf("the last of %d leases ended %s after the last start", len(granted), time.Since(started).Round(time.Millisecond))
}

// clockNoted is by how much a kill may prolong leases: the time since the clock
// was last noted in the log.
const clockNoted = 5 * time.Second
