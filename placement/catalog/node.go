package catalog

import (
	"context"
	"errors"
	"fmt"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

var (
	// ErrNodeNotFound says that the cluster has no node of this id.
	ErrNodeNotFound = errors.New("the cluster has no such node")
	// ErrNodeRemoved says that the node was removed for good.
	ErrNodeRemoved = errors.New("the node was removed from the cluster")
)

// Drain asks a node to lead nothing and to get no replicas, because a process of
// it is about to stop for a while; nothing changes if another one is the node by
// now. It returns ErrNodeNotFound or ErrNodeRemoved.
func (c *Catalog) Drain(ctx context.Context, id, boot string) error {
	return c.setNodeState(ctx, id, boot, internalv1.NodeState_NODE_STATE_DRAINING)
}

// Activate lets a node lead and get replicas again. It returns ErrNodeNotFound
// or ErrNodeRemoved.
func (c *Catalog) Activate(ctx context.Context, id string) error {
	return c.setNodeState(ctx, id, "", internalv1.NodeState_NODE_STATE_ACTIVE)
}

// setNodeState sets the state of a node, if it is the process boot, or any if that
// is empty.
func (c *Catalog) setNodeState(ctx context.Context, id, boot string, state internalv1.NodeState) error {
	return retryConflicts(ctx, func() error {
		r, err := read(ctx, c, nodeKey(id), &internalv1.NodeRecord{})
		if err != nil {
			return err
		}
		switch {
		case !r.exists():
			return fmt.Errorf("node %s: %w", id, ErrNodeNotFound)
		case r.message.GetState() == internalv1.NodeState_NODE_STATE_REMOVED:
			return fmt.Errorf("node %s: %w", id, ErrNodeRemoved)
		case r.message.GetState() == state, boot != "" && r.message.GetBootId() != boot:
			return nil
		}
		r.message.State = state
		var t change
		t.replace(nodeKey(id), r.revision, r.message)
		return c.commit(ctx, &t)
	})
}
