package shards

import (
	"context"
	"errors"
	"time"

	"github.com/lni/dragonboat/v4"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards/fault"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/tenancy"
)

// The size of one maintenance command: what a shard's other commands wait for.
const (
	purgeEventsMax      = 1000
	agedNamespacesMax   = 200
	maintenanceSliceMin = 5 * time.Millisecond
)

// maintain compacts and purges the shards that this node leads. One goroutine
// serves all of them, and an idle shard costs two look-ups each interval:
// nothing is done per namespace, and nothing is proposed without need.
func (h *Host) maintain(ctx context.Context) {
	ticker := time.NewTicker(h.cfg.MaintenanceInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, s := range h.running() {
			if s.leads() {
				h.maintainShard(ctx, s)
			}
			h.boundLog(ctx, s)
			h.endBlindWatches(s)
		}
	}
}

// logOverheadEntries is how many applied entries a bounded log keeps for
// replicas that lag.
const logOverheadEntries = 128

// boundLog has the state flushed and the log before it dropped once the log has
// grown by so many bytes. The engine itself counts entries only, and a few
// thousand of them can be gigabytes.
func (h *Host) boundLog(ctx context.Context, s *shard) {
	applied := s.replica.AppliedBytes()
	if applied-s.boundedAt.Load() < h.cfg.LogBytesMax {
		return
	}
	option := dragonboat.SnapshotOption{OverrideCompactionOverhead: true, CompactionOverhead: logOverheadEntries}
	request, err := h.node.RequestSnapshot(uint64(s.id), option, h.cfg.ProposeTimeout)
	if err != nil {
		h.log.Warn("log is not shortened", "shard_id", uint64(s.id), "err", err)
		return
	}
	defer request.Release()
	select {
	case result := <-request.ResultC():
		if !result.Completed() {
			h.log.Warn("log is not shortened: tried again", "shard_id", uint64(s.id))
			return
		}
		s.boundedAt.Store(applied)
		s.metrics.snapshots.Inc()
	case <-ctx.Done():
	}
}

// maintainShard proposes slices until the shard has nothing left to do or the
// interval is over, so that one shard's purge does not hold up another's.
func (h *Host) maintainShard(ctx context.Context, s *shard) {
	ctx, cancel := context.WithTimeout(ctx, max(h.cfg.MaintenanceInterval, 100*time.Millisecond))
	defer cancel()
	for ctx.Err() == nil {
		command, err := h.maintenanceOf(ctx, s)
		if err == nil && command == nil {
			return
		}
		if err == nil {
			_, err = h.Propose(ctx, s.id, tenancy.SystemTenant, command)
		}
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, ErrStopping) {
				h.log.Warn("shard maintenance put off", "shard_id", uint64(s.id), "err", err)
			}
			return
		}
		// Leaves the shard's other commands their share.
		pause(ctx, maintenanceSliceMin)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// maintenanceOf is the next command that the shard needs, or nil.
func (h *Host) maintenanceOf(ctx context.Context, s *shard) (*internalv1.Command, error) {
	if agreed := h.agreed.Load(); agreed > max(s.replica.Level(), 1) {
		return &internalv1.Command{Operation: &internalv1.Command_RaiseLevel{RaiseLevel: &internalv1.RaiseLevel{Level: agreed}}}, nil
	}
	var purge, aged bool
	before := uint64(max(0, fault.Now().Add(-h.cfg.CompactionAge).UnixMilli()))
	err := h.Read(ctx, s.id, Serializable, func(v *View) error {
		var err error
		if h.cfg.CompactionAge > 0 {
			end := machine.AppendAgeKey(nil, before/machine.AgeBucketMS, 0)
			if aged, err = v.hasRow(machine.TableAges, end); err != nil {
				return err
			}
		}
		purge, err = v.hasRow(machine.TablePurges, nil)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case aged:
		return &internalv1.Command{Operation: &internalv1.Command_CompactAged{
			CompactAged: &internalv1.CompactAged{BeforeMs: before, NamespacesMax: agedNamespacesMax},
		}}, nil
	case purge:
		return &internalv1.Command{Operation: &internalv1.Command_PurgeSlice{
			PurgeSlice: &internalv1.PurgeSlice{EventsMax: purgeEventsMax},
		}}, nil
	default:
		return nil, nil
	}
}

// hasRow tells whether one of the shard's own tables has a row before end.
func (v *View) hasRow(table machine.Table, end []byte) (bool, error) {
	it := v.rows.Rows(table, 0, nil, end)
	ok := it.Next()
	return ok, it.Close()
}
