package shards

import (
	"context"
	"errors"
	"iter"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// Watches returns the watches of this node's replica of a shard, or
// ErrShardNotFound. They show what the replica applies, whether it leads or not.
func (h *Host) Watches(id ShardID) (*watch.Hub, error) {
	s, err := h.shard(id)
	if err != nil {
		return nil, err
	}
	return s.watches, nil
}

// Watch gives the answers of one watch on this node's replica of a shard, until it
// ends with an error: see watch.Follow. Breaking the loop ends it.
func (h *Host) Watch(ctx context.Context, id ShardID, owner watch.Owner, spec watch.Spec) iter.Seq2[watch.Answer, error] {
	return func(yield func(watch.Answer, error) bool) {
		stream := watch.NewStream(watch.StreamConfig{})
		defer stream.Close()
		hub, err := h.Watches(id)
		if err == nil {
			err = stream.Create(hub, owner, spec)
		}
		if err != nil {
			yield(watch.Answer{}, err)
			return
		}
		watch.Follow(ctx, stream.Next)(yield)
	}
}

// A WatchSource is watches on replicas of another node, for a watch.Relay. All
// but Receive may be called by several goroutines.
type WatchSource interface {
	// Begin begins a watch, whose id spec names. It is answered as by a
	// watch.Stream.
	Begin(shard ShardID, ns tenancy.NamespaceID, spec watch.Spec) error
	// Cancel ends a watch, and Progress asks how far one came.
	Cancel(id int64) error
	Progress(id int64) error
	// ProgressAll asks how far all came. It does not block.
	ProgressAll()
	// Receive waits for answers. Its error ends the source.
	Receive() ([]watch.Answer, error)
	// Close ends the source.
	Close()
}

func (h *Host) newHub(s *shard, m *watch.Metrics) *watch.Hub {
	return watch.NewHub(h.cfg.Watch, &h.accounts, m, func(ns tenancy.NamespaceID, read func(mvcc.Reader, mvcc.State) error) error {
		return h.readPresent(s, func(v *View) error {
			space, state, err := v.Namespace(ns)
			if _, dropped := errors.AsType[*machine.WrongEpochError](err); dropped {
				return tenancy.ErrNamespaceNotFound // which ends its watches
			}
			if err != nil {
				return err
			}
			return read(space, state)
		})
	})
}
