package shards

import (
	"errors"
	"fmt"
	"time"
)

// LevelError refuses a command that not every node knows yet: the cluster is
// being upgraded, or its nodes are older than the caller. Nothing was applied.
type LevelError struct {
	// Needs is the feature level of the command, Has the cluster's.
	Needs, Has uint32
}

func (e *LevelError) Error() string {
	return fmt.Sprintf("the command needs feature level %d, and the cluster is at %d", e.Needs, e.Has)
}

var (
	// ErrStopping says that the node is stopping and nothing was applied.
	ErrStopping = errors.New("the node is stopping")
	// ErrDiskFull says that the node's disk is nearly full, that writes are
	// refused until there is room, and that nothing was applied.
	ErrDiskFull = errors.New("the node's disk is nearly full")
	// ErrOutcomeUnknown says that a proposal may or may not be applied: it was
	// handed to Raft and its outcome was not seen in time.
	ErrOutcomeUnknown = errors.New("the outcome of the write is unknown")
	errTransferLate   = errors.New("it does not lead in time")
	// ErrShardNotFound says that this node has no replica of the shard.
	ErrShardNotFound = errors.New("no replica of the shard is on this node")
)

// NotLeaderError says that the shard has no leader here, and that nothing was
// applied.
type NotLeaderError struct {
	Shard ShardID
	// Leader is the replica that leads, 0 when that is not known.
	Leader uint64
	// Node is the id of the node that leads, "" when that is not known.
	Node string
}

func (e *NotLeaderError) Error() string {
	if e.Leader == 0 {
		return fmt.Sprintf("shard %d has no leader", e.Shard)
	}
	return fmt.Sprintf("shard %d is led by replica %d", e.Shard, e.Leader)
}

// BusyError says that a queue is full, and that nothing was applied.
type BusyError struct {
	Shard ShardID
	// Queue is which bound was hit: "tenant", "shard", "log" for Raft's own, or
	// "long reads".
	Queue string
	// RetryAfter is when to try again at the earliest.
	RetryAfter time.Duration
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("too many requests wait on shard %d (bound of the %s queue)", e.Shard, e.Queue)
}

// UnreachableError says that a node cannot be asked now, and that nothing was
// applied.
type UnreachableError struct {
	// Node is its id.
	Node string
	// Cause is why; nil if its address is not known. It is not unwrapped: that a
	// connection was canceled does not mean that the caller was.
	Cause error
}

func (e *UnreachableError) Error() string {
	if e.Cause == nil {
		return fmt.Sprintf("the address of node %s is not known", e.Node)
	}
	return fmt.Sprintf("node %s cannot be reached: %v", e.Node, e.Cause)
}
