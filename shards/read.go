package shards

import (
	"context"
	"errors"
	"fmt"

	"github.com/flotillakv/flotilla/shards/fault"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/store"
	"github.com/flotillakv/flotilla/tenancy"
)

// Consistency is how current a read must be.
type Consistency int

const (
	// Linearizable reads see every write that was acknowledged before them.
	Linearizable Consistency = iota
	// Serializable reads see this replica's state as it is, which may lag.
	Serializable
)

// A View is one consistent state of a shard. It is used by one goroutine, and
// only inside the function that Read calls.
type View struct {
	rows *store.View
	// clockMS is how late it is by the shard's clock.
	clockMS uint64
	// The namespace that was asked for last: many reads of one are served in a
	// row.
	last   tenancy.NamespaceID
	reader mvcc.Reader
	state  mvcc.State
}

// Namespace returns a namespace's key space and counters.
func (v *View) Namespace(id tenancy.NamespaceID) (mvcc.Reader, mvcc.State, error) {
	if v.reader != nil && v.last == id {
		return v.reader, v.state, nil
	}
	row, ok, err := v.rows.Row(machine.TableState, id, nil)
	if err != nil {
		return nil, mvcc.State{}, fmt.Errorf("read a namespace's state: %w", err)
	}
	state := mvcc.NewState()
	if ok {
		if state, err = machine.DecodeNamespaceState(row); err != nil {
			return nil, mvcc.State{}, err
		}
	}
	v.last, v.reader, v.state = id, v.rows.Namespace(id), state
	return v.reader, v.state, nil
}

// Read calls read with a state of the shard. Many reads should share one call:
// they then share one ReadIndex round and one iterator.
func (h *Host) Read(ctx context.Context, id ShardID, c Consistency, read func(*View) error) error {
	s, err := h.shard(id)
	if err != nil {
		return err
	}
	return h.readFrom(ctx, s, c, read)
}

func (h *Host) readFrom(ctx context.Context, s *shard, c Consistency, read func(*View) error) error {
	// A replica that has just joined has nothing, which is no state that lags.
	if (c == Linearizable || s.fresh.Load()) && !fault.StaleReads() {
		if err := s.reader.current(ctx); err != nil {
			return err
		}
		s.fresh.Store(false)
	}
	return h.readPresent(s, read)
}

// readPresent calls read with the replica's state as it is.
func (h *Host) readPresent(s *shard, read func(*View) error) (err error) {
	h.reading.RLock()
	defer h.reading.RUnlock()
	if h.stopped {
		return ErrStopping
	}
	view := &View{rows: s.rows.NewView(), clockMS: s.clock.NowMS()}
	// Also when a read panics: the store waits for open views when it is closed.
	defer func() { err = errors.Join(err, view.rows.Close()) }()
	return read(view)
}
