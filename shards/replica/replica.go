// Package replica ties a shard's machine to its store, as the on-disk state
// machine that the consensus library drives.
package replica

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"

	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/store"
	"github.com/flotillakv/flotilla/shards/watch"
)

// Listener hears what a replica applied, on the replica's apply goroutine: it
// must not block, and must not keep the slices.
type Listener interface {
	// Applied delivers the results of one log entry, in the order of its
	// commands, after they became readable.
	Applied(header machine.Header, results []machine.Result)
	// Halted tells that the replica cannot go on: its state is intact up to
	// the entry before, and the process should end and start again.
	Halted(err error)
}

// A Replica applies committed entries of one shard to its store.
//
//	R1: the applied index is in the same batch as the effects. So after a
//	    crash, in which the newest batches are lost together because the
//	    store has no write-ahead log of its own, replaying the Raft log from
//	    the applied index gives the same state again.
//	R2: results and changes are told after the batch is readable, and changes
//	    to watches before results to callers: a watch that begins after a
//	    write was answered does not show it.
//	R3: Update returns an error only if the replica cannot go on.
//
// All entries that the library hands over at once share one batch: the commit
// then costs the same for one command as for thousands.
type Replica struct {
	shard    *store.Shard
	machine  *machine.Machine
	listener Listener
	recorder *watch.Recorder
	clock    *Clock
	applied  atomic.Uint64
	bytes    atomic.Int64
	clockMS  atomic.Uint64
	expiry   atomic.Uint64
	leases   atomic.Int64
	level    atomic.Uint32

	// Reused by Update, which is never called concurrently.
	results []machine.Result
	ends    []int // results[ends[i-1]:ends[i]] belong to entry i
	changes []machine.Change
}

// New makes a replica over a shard's store. It moves the clock with the entries
// that it applies, and tells the hub's watches what they change.
func New(shard *store.Shard, clock *Clock, listener Listener, watches *watch.Hub) *Replica {
	r := &Replica{
		shard: shard, machine: machine.New(), clock: clock,
		listener: listener, recorder: watch.NewRecorder(watches),
	}
	r.expiry.Store(NoExpiry)
	return r
}

// AppliedIndex is the index of the last entry whose effects are readable.
func (r *Replica) AppliedIndex() uint64 { return r.applied.Load() }

// AppliedBytes is how many bytes of log entries were applied since the start.
func (r *Replica) AppliedBytes() int64 { return r.bytes.Load() }

// NoExpiry is what NextExpiry tells of a shard without leases.
const NoExpiry = math.MaxUint64

// NextExpiry is until when, by the shard's clock in milliseconds, surely no
// lease has to end.
func (r *Replica) NextExpiry() uint64 { return r.expiry.Load() }

// ClockMS is the shard's clock as of the last entry applied, in milliseconds.
func (r *Replica) ClockMS() uint64 { return r.clockMS.Load() }

// Leases is the number of leases of the shard.
func (r *Replica) Leases() int64 { return r.leases.Load() }

// Level is the feature level that the shard has come to, 0 for the first one.
func (r *Replica) Level() uint32 { return r.level.Load() }

// noteTime tells those who look from outside how late it is in the shard, what that
// means for its leases, and its level.
func (r *Replica) noteTime() {
	clockMS := r.machine.Clock()
	r.clock.Observe(clockMS)
	r.clockMS.Store(clockMS)
	expiry, ok := r.machine.NextExpiry()
	if !ok {
		expiry = NoExpiry
	}
	r.expiry.Store(expiry)
	r.leases.Store(int64(r.machine.Leases()))
	r.level.Store(r.machine.ShardLevel())
}

// Open implements statemachine.IOnDiskStateMachine.
func (r *Replica) Open(<-chan struct{}) (uint64, error) { return r.load() }

func (r *Replica) load() (uint64, error) {
	view := r.shard.NewView()
	applied, err := r.machine.Load(view)
	if err := errors.Join(err, view.Close()); err != nil {
		return 0, fmt.Errorf("open the replica: %w", err)
	}
	r.applied.Store(applied)
	r.noteTime()
	return applied, nil
}

// Update implements statemachine.IOnDiskStateMachine.
func (r *Replica) Update(entries []statemachine.Entry) ([]statemachine.Entry, error) {
	if err := r.apply(entries); err != nil {
		r.listener.Halted(err)
		return nil, err
	}
	r.recorder.Publish(r.changes)
	start := 0
	for i := range entries {
		results := r.results[start:r.ends[i]]
		start = r.ends[i]
		entries[i].Result = statemachine.Result{Value: uint64(len(results))}
		if len(results) > 0 {
			// The header was decoded once by the machine, so it is sound.
			header, _, _ := machine.DecodeHeader(entries[i].Cmd)
			r.listener.Applied(header, results)
		}
	}
	return entries, nil
}

// apply leaves the results and changes of the entries in the replica.
func (r *Replica) apply(entries []statemachine.Entry) (err error) {
	clear(r.results)
	r.results, r.ends, r.changes = r.results[:0], r.ends[:0], r.changes[:0]
	batch := r.shard.NewBatch()
	defer func() { err = errors.Join(err, batch.Close()) }()
	recorded := r.recorder.Begin(batch)
	size := 0
	for i := range entries {
		size += len(entries[i].Cmd)
		if r.results, err = r.machine.Apply(recorded, entries[i].Index, entries[i].Cmd, r.results); err != nil {
			return err
		}
		r.ends = append(r.ends, len(r.results))
	}
	if r.changes, err = r.machine.Finish(batch, r.changes); err != nil {
		return err
	}
	if err := batch.Commit(); err != nil {
		return fmt.Errorf("commit entries up to %d: %w", r.machine.Applied(), err)
	}
	r.applied.Store(r.machine.Applied())
	r.bytes.Add(int64(size))
	r.noteTime()
	return nil
}

// Lookup implements statemachine.IOnDiskStateMachine. Reads do not come this
// way: the host reads the store itself once Raft says that it is current.
func (r *Replica) Lookup(any) (any, error) {
	return nil, errors.New("reads go through the host")
}

// Sync implements statemachine.IOnDiskStateMachine: everything applied so far
// is durable when it returns, so the log before it may be dropped.
func (r *Replica) Sync() error { return r.shard.Flush() }

// PrepareSnapshot implements statemachine.IOnDiskStateMachine.
func (r *Replica) PrepareSnapshot() (any, error) { return r.shard.Snapshot(), nil }

// SaveSnapshot implements statemachine.IOnDiskStateMachine. It runs beside
// Update, on the state that PrepareSnapshot pinned.
func (r *Replica) SaveSnapshot(prepared any, w io.Writer, stop <-chan struct{}) error {
	snapshot, ok := prepared.(*store.Snapshot)
	if !ok {
		return fmt.Errorf("save a snapshot: %T is not one", prepared)
	}
	return errors.Join(snapshot.WriteTo(w, stop), snapshot.Close())
}

// RecoverFromSnapshot implements statemachine.IOnDiskStateMachine.
func (r *Replica) RecoverFromSnapshot(from io.Reader, stop <-chan struct{}) error {
	if err := r.shard.Restore(from, stop); err != nil {
		return fmt.Errorf("recover from a snapshot: %w", err)
	}
	_, err := r.load()
	r.recorder.Restored()
	return err
}

// Close implements statemachine.IOnDiskStateMachine. The store outlives the
// replica: it is the node's.
func (r *Replica) Close() error { return nil }
