package catalog

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/tenancy"
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

// RemoveNode takes a node out of the cluster that shows no sign of life: its replicas
// are replaced, and it is not let in again. The node is found by its id or its name.
// It returns ErrNodeNotFound, ErrNodeRemoved, or a *tenancy.WrongStateError if it
// lives, or no other hosts replicas: a node that is alone gives no sign of life.
func (c *Catalog) RemoveNode(ctx context.Context, name string) error {
	return retryConflicts(ctx, func() error {
		records, err := c.Records(ctx)
		if err != nil {
			return err
		}
		id, node := findNode(records, name)
		switch {
		case node == nil:
			return ErrNodeNotFound
		case node.GetState() == internalv1.NodeState_NODE_STATE_REMOVED:
			return ErrNodeRemoved
		case records.Live[id] != "":
			return &tenancy.WrongStateError{What: fmt.Sprintf("the node %q", node.GetName()), State: "alive: stop it first"}
		case !othersHost(records, id):
			return &tenancy.WrongStateError{What: fmt.Sprintf("the node %q", node.GetName()), State: "the only one that hosts replicas"}
		}
		node.State = internalv1.NodeState_NODE_STATE_REMOVED
		t := records.Change()
		t.PutNode(id, node)
		c.audit(ctx, &t.txn, "", node.GetName(), "node "+id+" removed")
		return c.Commit(ctx, t)
	})
}

// othersHost tells whether a node other than this one hosts replicas.
func othersHost(records *Records, id string) bool {
	for other, node := range records.Directory.GetNodes() {
		if other != id && node.GetHosts() && node.GetState() != internalv1.NodeState_NODE_STATE_REMOVED {
			return true
		}
	}
	return false
}

// findNode finds a node by its id or, among those that were not removed, by its
// name. The record is the caller's own.
func findNode(records *Records, name string) (string, *internalv1.NodeRecord) {
	for id, node := range records.Directory.GetNodes() {
		if id == name || node.GetName() == name && node.GetState() != internalv1.NodeState_NODE_STATE_REMOVED {
			return id, proto.CloneOf(node)
		}
	}
	return "", nil
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
