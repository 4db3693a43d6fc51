package placement

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/tenancy"
)

// deletions are deleted tenants and namespaces, by how many slices they have left.
type deletions struct {
	mu sync.Mutex
	// tenants and purges are by their order.
	tenants map[tenancy.TenantID]int
	purges  map[tenancy.NamespaceID]int
	// down is the shards that cannot be reached, and failing fails everything.
	down    map[shards.ShardID]bool
	failing bool
	// keys is how many keys are gone whose use is known.
	keys int
	// slices counts what was removed of a namespace.
	slices map[tenancy.NamespaceID]int
}

var errDown = errors.New("the shard cannot be reached")

func (d *deletions) DueTenants(_ context.Context, limit uint64) (list []tenancy.TenantID, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failing {
		return nil, errDown
	}
	for tenant := range d.tenants {
		list = append(list, tenant)
	}
	slices.Sort(list)
	return list[:min(len(list), int(limit))], nil
}

func (d *deletions) EraseTenant(_ context.Context, tenant tenancy.TenantID) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tenants[tenant]--
	if d.tenants[tenant] > 0 {
		return false, nil
	}
	delete(d.tenants, tenant)
	return true, nil
}

func (d *deletions) Purges(_ context.Context, limit uint64) (list []catalog.Purge, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failing {
		return nil, errDown
	}
	var ids []tenancy.NamespaceID
	for id := range d.purges {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids[:min(len(ids), int(limit))] {
		list = append(list, catalog.Purge{Route: catalog.Route{Namespace: id, Shard: shardOf(id)}})
	}
	return list, nil
}

// shardOf puts the first hundred namespaces on shard 2, the rest on shard 3.
func shardOf(id tenancy.NamespaceID) shards.ShardID {
	if id <= 100 {
		return 2
	}
	return 3
}

func (d *deletions) DropSlice(_ context.Context, p catalog.Purge, rows uint32) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down[p.Shard] || d.failing {
		return false, errDown
	}
	d.slices[p.Namespace]++
	d.purges[p.Namespace] = max(d.purges[p.Namespace], 1) - 1
	return d.purges[p.Namespace] > 0, nil
}

func (d *deletions) Purged(_ context.Context, p catalog.Purge) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.purges, p.Namespace)
	return nil
}

func (d *deletions) ForgetKeyUses(context.Context) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failing {
		return false, errDown
	}
	d.keys = max(d.keys, 1) - 1
	return d.keys > 0, nil
}

func (d *deletions) left() (tenants, namespaces int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.tenants), len(d.purges)
}

func (d *deletions) remaining(id tenancy.NamespaceID) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.purges[id]
}

// leading is who leads the system shard.
type leading struct {
	mu   sync.Mutex
	node string
}

func (l *leading) Leader(shards.ShardID) (string, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.node, 1
}

func (l *leading) set(node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.node = node
}

func newDeletions(namespaces ...int) *deletions {
	d := &deletions{
		tenants: map[tenancy.TenantID]int{}, purges: map[tenancy.NamespaceID]int{},
		down: map[shards.ShardID]bool{}, slices: map[tenancy.NamespaceID]int{},
	}
	for i, slices := range namespaces {
		d.purges[tenancy.NamespaceID(i+1)] = slices
	}
	return d
}

// reap runs the reapers of nodes, of which stop ends all.
func reap(t *testing.T, l Leaders, d Deletions, nodes ...string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, node := range nodes {
		running.Go(func() {
			if err := NewReaper(node, l, d, slog.New(slog.DiscardHandler)).Run(ctx); err != nil {
				t.Errorf("reap: %v", err)
			}
		})
	}
	return func() { cancel(); running.Wait() }
}

// TestReaperGoesOn stops a reaper midway, and lets the next leader go on.
func TestReaperGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, d := &leading{node: "a"}, newDeletions(500, 3)
		d.tenants["acme"], d.tenants["beta"] = 3, 1
		d.keys = 5
		stop := reap(t, l, d, "a", "b")
		<-time.After(time.Second)
		_, namespaces := d.left()
		require.Equal(t, 1, namespaces, "the small one did not wait for the large one")
		require.Positive(t, d.remaining(1))
		l.set("b")
		<-time.After(20 * time.Second)
		synctest.Wait()
		tenants, namespaces := d.left()
		require.Zero(t, tenants+namespaces)
		require.Zero(t, d.keys)
		require.Equal(t, map[tenancy.NamespaceID]int{1: 500, 2: 3}, d.slices, "each slice once")
		stop()
	})
}

// TestTwoReapers work at the same time, as two nodes do that both hold themselves
// for the leader: all is removed, and nothing more.
func TestTwoReapers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDeletions(20, 0, 7, 1)
		d.tenants["acme"] = 5
		stop := reap(t, &leading{node: "a"}, d, "a", "a")
		<-time.After(20 * time.Second)
		synctest.Wait()
		tenants, namespaces := d.left()
		require.Zero(t, tenants+namespaces)
		stop()
	})
}

// TestReaperPassesOverWhatCannotBeReached: namespaces of a shard that is down do not
// keep those of another one, however many there are.
func TestReaperPassesOverWhatCannotBeReached(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slices := make([]int, 120)
		d := newDeletions(slices...)
		d.down[2] = true
		stop := reap(t, &leading{node: "a"}, d, "a")
		<-time.After(time.Hour)
		synctest.Wait()
		_, namespaces := d.left()
		require.Equal(t, 100, namespaces)
		d.mu.Lock()
		d.down[2], d.failing = false, true
		d.mu.Unlock()
		<-time.After(10 * time.Second)
		d.mu.Lock()
		d.failing = false
		d.mu.Unlock()
		<-time.After(time.Minute)
		synctest.Wait()
		_, namespaces = d.left()
		require.Zero(t, namespaces)
		stop()
	})
}
