package linear

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

const (
	heldLeases = 5
	// heldTTL outlasts what the nodes suffer, so a lease that is held is never lost.
	heldTTL = 90 * time.Second
	// endingTTLMax is how long leases last that nobody renews, in seconds.
	endingTTLMax = 6
	// clockNoted is by how much a crash may prolong leases: the time since the
	// shard's clock was last noted in the log.
	clockNoted = 5 * time.Second
)

// leases are leases in a namespace that nobody else uses: such as are held, which
// must be there at the end, and such as nobody renews, none of which may end before
// its TTL has passed.
type leases struct {
	spaces []*flotilla.Namespace // one for each node
	held   []*flotilla.Lease
	stop   context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	ending []ending
	err    error
}

// ending is a lease that nobody renews, with a key.
type ending struct {
	key string
	ttl time.Duration
	// asked is when it was asked for. It was granted later, so it lasts for its
	// TTL from then at least.
	asked time.Time
}

func (e *ending) until() time.Time { return e.asked.Add(e.ttl) }

// startLeases begins to grant leases and to look after them.
func startLeases(t *testing.T, spaces []*flotilla.Namespace, seed uint64) *leases {
	t.Helper()
	l := &leases{spaces: spaces}
	for i := range heldLeases {
		lease, err := spaces[i%len(spaces)].Leases.Hold(t.Context(), heldTTL, nil)
		require.NoError(t, err)
		_, err = spaces[0].KV.Put(t.Context(), heldKey(i), nil, &flotilla.PutOptions{Lease: lease.ID()})
		require.NoError(t, err)
		l.held = append(l.held, lease)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l.stop = func() {
		cancel()
		l.work.Wait()
	}
	t.Cleanup(l.stop)
	for i, space := range spaces {
		random := rand.New(rand.NewPCG(seed, uint64(400+i)))
		l.work.Go(func() { l.grant(ctx, space, i, random) })
		l.work.Go(func() { l.look(ctx, space.KV) })
	}
	return l
}

func heldKey(i int) string { return fmt.Sprintf("held/%d", i) }

// grant grants one lease after the other through one node, each with a key.
func (l *leases) grant(ctx context.Context, space *flotilla.Namespace, name int, random *rand.Rand) {
	for n := 0; ctx.Err() == nil; n++ {
		e := ending{
			key: fmt.Sprintf("ends/%d-%d", name, n), asked: time.Now(),
			ttl: time.Duration(1+random.IntN(endingTTLMax)) * time.Second,
		}
		lease, err := space.Leases.Grant(ctx, e.ttl, nil)
		if err == nil {
			_, err = space.KV.Put(ctx, e.key, nil, &flotilla.PutOptions{Lease: lease.ID})
		}
		switch {
		case err == nil:
			l.mu.Lock()
			l.ending = append(l.ending, e)
			l.mu.Unlock()
		case errors.Is(err, flotilla.ErrLeaseNotFound) && time.Now().Before(e.until()):
			l.fail(fmt.Errorf("the lease of %s is gone %s before its TTL has passed", e.key, time.Until(e.until())))
		case errors.Is(err, flotilla.ErrLeaseNotFound): // it took so long
		case !leaseOutage(err):
			l.fail(err)
		}
		wait(ctx, time.Duration(random.IntN(400))*time.Millisecond)
	}
}

// look reads the keys over and over through one node: one that is gone before its
// lease's TTL has passed is a failure.
func (l *leases) look(ctx context.Context, kv *flotilla.KV) {
	for ctx.Err() == nil {
		l.mu.Lock()
		known := l.ending
		l.mu.Unlock()
		left, err := endingKeys(ctx, kv)
		now := time.Now()
		switch {
		case err == nil:
		case leaseOutage(err):
			continue
		default:
			l.fail(err)
			return
		}
		for _, e := range known {
			if !left[e.key] && now.Before(e.until()) {
				l.fail(fmt.Errorf("%s is gone %s before the TTL of its lease has passed", e.key, e.until().Sub(now)))
			}
		}
		wait(ctx, 50*time.Millisecond)
	}
}

func endingKeys(ctx context.Context, kv *flotilla.KV) (map[string]bool, error) {
	left := make(map[string]bool)
	for found, err := range kv.Range(ctx, flotilla.Prefix("ends/"), &flotilla.RangeOptions{KeysOnly: true}) {
		if err != nil {
			return nil, err
		}
		left[found.Key] = true
	}
	return left, nil
}

// leaseOutage is whether what the nodes suffer, or the end of the test, explains an
// error.
func leaseOutage(err error) bool {
	var answered *flotilla.Error
	if !errors.As(err, &answered) {
		return false
	}
	switch answered.Code {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeCanceled:
		return true
	default:
		return flotilla.OutcomeUnknown(err)
	}
}

func (l *leases) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = errors.Join(l.err, err)
}

// finish grants no more leases, waits until all have ended that nobody renews, and
// requires that the others are there. The nodes must be well.
func (l *leases) finish(t *testing.T) {
	t.Helper()
	l.stop()
	require.NoError(t, l.err)
	require.NotEmpty(t, l.ending)
	kv := l.spaces[0].KV
	const slow = 15 * time.Second // of a machine that is busy with other tests
	require.Eventually(t, func() bool {
		left, err := endingKeys(t.Context(), kv)
		return err == nil && len(left) == 0
	}, endingTTLMax*time.Second+clockNoted+time.Second+slow, 20*time.Millisecond, "leases do not end")
	for i, lease := range l.held {
		require.NoError(t, lease.Err())
		_, err := kv.Get(t.Context(), heldKey(i), nil)
		require.NoError(t, err, "the key of a lease that was held")
	}
	t.Logf("%d leases ended, none before its time; %d were held all the time", len(l.ending), len(l.held))
}

// wait lets time pass, or returns when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
