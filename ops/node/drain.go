package node

import (
	"context"
	"time"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

const (
	// drainTimeout bounds the first step of a stop: to have others lead what this
	// node leads.
	drainTimeout = 5 * time.Second
	// drainToldTimeout bounds telling the catalog, which may be gone.
	drainToldTimeout = time.Second
)

// drain has the others lead the shards of this node before anything of it stops,
// so that their callers wait for milliseconds and not for an election.
func (n *Node) drain(ctx context.Context) (func() error, error) {
	return func() error {
		n.serving.Store(false) // probes send nobody here any more
		if n.host == nil || n.alone() || !n.isMember() {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		telling, told := context.WithTimeout(ctx, drainToldTimeout)
		defer told()
		// With it placement gives back nothing of what is handed over now.
		if err := n.catalog.Drain(telling, n.dir.Identity().NodeID, n.bootID); err != nil {
			n.cfg.Log.Warn("the node stops without the catalog knowing", "err", err)
		}
		successors := n.successors()
		if len(successors) == 0 {
			return nil
		}
		if left := n.host.HandOver(ctx, successors); left > 0 {
			n.cfg.Log.Warn("the node stops while it leads shards: they elect others", "shards", left)
		}
		return nil
	}, nil
}

// isMember tells whether the catalog counts this node as one, as far as is known: else
// there is nobody to tell that it stops.
func (n *Node) isMember() bool {
	record := n.directory.Node(n.dir.Identity().NodeID)
	return record != nil && record.GetState() != internalv1.NodeState_NODE_STATE_REMOVED
}

// successors are the other nodes that are alive, as far as is known.
func (n *Node) successors() []string {
	var list []string
	for id, record := range n.directory.Nodes() {
		if id != n.dir.Identity().NodeID && record.GetDeadSinceMs() == 0 && record.GetState() == internalv1.NodeState_NODE_STATE_ACTIVE {
			list = append(list, id)
		}
	}
	return list
}
