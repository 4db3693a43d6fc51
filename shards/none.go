package shards

import (
	"context"
	"fmt"

	"github.com/flotillakv/flotilla/shards/watch"
)

// None stands for the host of a node without replicas: it refuses everything with
// ErrShardNotFound.
type None struct{}

// Submit refuses.
func (None) Submit(id ShardID, _ *Call) error { return notFound(id) }

// QueryBatch refuses.
func (None) QueryBatch(_ context.Context, id ShardID, _ *QueryBatch) error { return notFound(id) }

// Watches refuses.
func (None) Watches(id ShardID) (*watch.Hub, error) { return nil, notFound(id) }

// Current refuses.
func (None) Current(_ context.Context, id ShardID) error { return notFound(id) }

// HasReplica is false.
func (None) HasReplica(ShardID) bool { return false }

// Leader is not known.
func (None) Leader(ShardID) (node string, term uint64) { return "", 0 }

// Leads is false.
func (None) Leads(ShardID) bool { return false }

func notFound(id ShardID) error { return fmt.Errorf("shard %d: %w", id, ErrShardNotFound) }
