package placement

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/tenancy"
)

const (
	// reaperEvery is how often the reaper looks when there was nothing to do.
	reaperEvery = 2 * time.Second
	// reaperPause lies between two slices, so that others' writes go before.
	reaperPause = 10 * time.Millisecond
	// sliceRows is how many rows one slice removes at most: some milliseconds.
	sliceRows = 2000
	// slicesAtOnce is how many slices of one namespace are removed before the next
	// one's turn, so that a large one does not keep back the small ones.
	slicesAtOnce = 50
	// reaperTimeout bounds one slice.
	reaperTimeout = 10 * time.Second
	// purgesAtOnce is how many namespaces are worked on in one turn, and tenants.
	purgesAtOnce = 16
	// purgesSeen is among how many these are chosen, by chance: so some that cannot be
	// removed now, because their shard has no quorum, do not keep the others.
	purgesSeen = 1000
)

// Deletions are the records of what is deleted, and the ways to remove it; they are
// the catalog.
type Deletions interface {
	DueTenants(ctx context.Context, limit uint64) ([]tenancy.TenantID, error)
	EraseTenant(ctx context.Context, tenant tenancy.TenantID) (done bool, err error)
	Purges(ctx context.Context, limit uint64) ([]catalog.Purge, error)
	DropSlice(ctx context.Context, p catalog.Purge, rowsMax uint32) (more bool, err error)
	Purged(ctx context.Context, p catalog.Purge) error
	ForgetKeyUses(ctx context.Context) (more bool, err error)
}

// Reaper removes what was deleted: tenants whose grace period is over, the data of
// namespaces, a slice at a time, and when API keys were used that are gone. It works
// on the node that leads the system shard. Each slice is a step by itself, and may be taken twice, so nothing is lost if the
// node stops, and two that work at the same time do no harm.
type Reaper struct {
	self      string
	leaders   Leaders
	deletions Deletions
	log       *slog.Logger
}

// NewReaper makes the reaper of the node self.
func NewReaper(self string, leaders Leaders, deletions Deletions, log *slog.Logger) *Reaper {
	return &Reaper{self: self, leaders: leaders, deletions: deletions, log: log}
}

// Run works while this node leads the system shard, until ctx ends.
func (r *Reaper) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		busy := false
		if leader, _ := r.leaders.Leader(shards.SystemShard); leader == r.self {
			busy = r.turn(ctx)
		}
		if busy {
			pause(ctx, reaperPause)
		} else {
			pause(ctx, reaperEvery)
		}
	}
	return nil
}

// turn removes some slices. It tells whether there may be more.
func (r *Reaper) turn(ctx context.Context) (busy bool) {
	due, failed := bounded(ctx, func(ctx context.Context) ([]tenancy.TenantID, error) { return r.deletions.DueTenants(ctx, purgesSeen) })
	for _, tenant := range someOf(due) {
		done, err := bounded(ctx, func(ctx context.Context) (bool, error) { return r.deletions.EraseTenant(ctx, tenant) })
		if err != nil {
			failed = err
			continue
		}
		if busy = true; done {
			r.log.Info("tenant removed", "tenant", string(tenant))
		}
	}
	if failed != nil {
		r.log.Debug("deleted tenants cannot be removed now", "err", failed)
	}
	more, err := bounded(ctx, r.deletions.ForgetKeyUses)
	if err != nil {
		r.log.Debug("uses of API keys that are gone cannot be forgotten now", "err", err)
	}
	busy = busy || more
	purges, err := bounded(ctx, func(ctx context.Context) ([]catalog.Purge, error) { return r.deletions.Purges(ctx, purgesSeen) })
	if err != nil {
		r.log.Debug("deleted namespaces cannot be listed now", "err", err)
		return false
	}
	for _, p := range someOf(purges) {
		if err := r.purge(ctx, p); err != nil {
			r.log.Debug("data of a deleted namespace cannot be removed now", "namespace_id", p.Namespace, "shard_id", p.Shard, "err", err)
			continue
		}
		busy = true
	}
	return busy
}

// someOf is up to purgesAtOnce of a list, by chance.
func someOf[T any](list []T) []T {
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] }) //nolint:gosec // chance, not secrecy
	return list[:min(len(list), purgesAtOnce)]
}

// purge removes some slices of a namespace.
func (r *Reaper) purge(ctx context.Context, p catalog.Purge) error {
	for range slicesAtOnce {
		more, err := bounded(ctx, func(ctx context.Context) (bool, error) { return r.deletions.DropSlice(ctx, p, sliceRows) })
		if err != nil {
			return err
		}
		if !more {
			_, err := bounded(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, r.deletions.Purged(ctx, p) })
			return err
		}
		pause(ctx, reaperPause)
	}
	return nil
}

// bounded bounds the time of one step.
func bounded[T any](ctx context.Context, step func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, reaperTimeout)
	defer cancel()
	return step(ctx)
}
