package shards

import (
	"context"
	"iter"

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

// Watch gives the answers of one watch on this node's replica of a shard: see
// watch.Follow.
func (h *Host) Watch(ctx context.Context, id ShardID, owner watch.Owner, spec watch.Spec) iter.Seq2[watch.Answer, error] {
	return watch.Follow(ctx, func(s *watch.Stream) error {
		hub, err := h.Watches(id)
		if err != nil {
			return err
		}
		return s.Create(hub, owner, spec)
	})
}

func (h *Host) newHub(s *shard, m *watch.Metrics) *watch.Hub {
	return watch.NewHub(h.cfg.Watch, &h.accounts, m, func(ns tenancy.NamespaceID, read func(mvcc.Reader, mvcc.State) error) error {
		return h.readPresent(s, func(v *View) error {
			space, state, err := v.Namespace(ns)
			if err != nil {
				return err
			}
			return read(space, state)
		})
	})
}
