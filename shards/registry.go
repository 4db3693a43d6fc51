package shards

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
)

// registry tells the consensus library where replicas are. Replicas are named
// by their node's id, which outlives its address.
type registry struct {
	mu    sync.RWMutex
	nodes map[replicaKey]string // node id
}

type replicaKey struct{ shard, replica uint64 }

func newRegistry() *registry { return &registry{nodes: make(map[replicaKey]string)} }

// Create implements config.NodeRegistryFactory.
func (r *registry) Create(string, uint64, config.TargetValidator) (raftio.INodeRegistry, error) {
	return r, nil
}

// Close implements raftio.INodeRegistry.
func (r *registry) Close() error { return nil }

// Add implements raftio.INodeRegistry. It is called for every message that comes
// in, and mostly says what is known.
func (r *registry) Add(shard, replica uint64, node string) {
	key := replicaKey{shard, replica}
	r.mu.RLock()
	known := r.nodes[key]
	r.mu.RUnlock()
	if known == node {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nodes[key] = node
}

// node is the id of the node that a replica is on, "" if that is not known.
func (r *registry) node(shard ShardID, replica uint64) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.nodes[replicaKey{uint64(shard), replica}]
}

// Remove implements raftio.INodeRegistry.
func (r *registry) Remove(shard, replica uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.nodes, replicaKey{shard, replica})
}

// RemoveShard implements raftio.INodeRegistry.
func (r *registry) RemoveShard(shard uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.nodes {
		if key.shard == shard {
			delete(r.nodes, key)
		}
	}
}

// Resolve implements raftio.INodeRegistry.
func (r *registry) Resolve(shard, replica uint64) (address, connection string, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	node, ok := r.nodes[replicaKey{shard, replica}]
	if !ok {
		return "", "", fmt.Errorf("replica %d of shard %d: no address is known", replica, shard)
	}
	return node, node, nil
}

// loneTransport is the transport of a node without peers: it opens no port and
// reaches nobody.
type loneTransport struct{}

var errNoPeers = errors.New("this node has no peers")

// Create implements config.TransportFactory.
func (loneTransport) Create(config.NodeHostConfig, raftio.MessageHandler, raftio.ChunkHandler) raftio.ITransport {
	return loneTransport{}
}

// Validate implements config.TransportFactory.
func (loneTransport) Validate(string) bool { return true }

// Name implements raftio.ITransport.
func (loneTransport) Name() string { return "none" }

// Start implements raftio.ITransport.
func (loneTransport) Start() error { return nil }

// Close implements raftio.ITransport.
func (loneTransport) Close() error { return nil }

// GetConnection implements raftio.ITransport.
func (loneTransport) GetConnection(context.Context, string) (raftio.IConnection, error) {
	return nil, errNoPeers
}

// GetSnapshotConnection implements raftio.ITransport.
func (loneTransport) GetSnapshotConnection(context.Context, string) (raftio.ISnapshotConnection, error) {
	return nil, errNoPeers
}
