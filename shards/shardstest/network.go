package shardstest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"
)

// A Network carries what the nodes of one test say to each other, in memory. The
// zero value is ready for use.
type Network struct {
	mu    sync.Mutex
	nodes map[string]*endpoint
	cut   map[string]bool
	slow  map[string]time.Duration
	// entries counts the log entries that came to a node.
	entries map[string]int
}

// Node is the transport of one node, by its id.
func (n *Network) Node(id string) config.TransportFactory { return &endpoint{network: n, id: id} }

// Cut takes a node off the network, or puts it back.
func (n *Network) Cut(id string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut == nil {
		n.cut = make(map[string]bool)
	}
	n.cut[id] = cut
}

// Slow has every batch of messages to a node take so long. What is to be sent to it
// meanwhile goes together.
func (n *Network) Slow(id string, takes time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.slow == nil {
		n.slow = make(map[string]time.Duration)
	}
	n.slow[id] = takes
}

// Entries is how many log entries a node was sent, each as often as it was.
func (n *Network) Entries(id string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.entries[id]
}

// carry counts what is sent to a node, and waits while it is under way.
func (n *Network) carry(to string, batch raftpb.MessageBatch) {
	n.mu.Lock()
	if n.entries == nil {
		n.entries = make(map[string]int)
	}
	for _, m := range batch.Requests {
		n.entries[to] += len(m.Entries)
	}
	takes := n.slow[to]
	n.mu.Unlock()
	if takes > 0 {
		<-time.After(takes)
	}
}

var errCut = errors.New("the node cannot be reached")

// reach returns where a message from one node to another goes.
func (n *Network) reach(from, to string) (*endpoint, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e, ok := n.nodes[to]
	if !ok || n.cut[from] || n.cut[to] {
		return nil, errCut
	}
	return e, nil
}

type endpoint struct {
	network  *Network
	id       string
	messages raftio.MessageHandler
	chunks   raftio.ChunkHandler

	// delivering is held for reading while something is delivered. Close waits for that,
	// as the engine takes nothing once its transport is closed.
	delivering sync.RWMutex
	closed     bool
}

// Create implements config.TransportFactory.
func (e *endpoint) Create(_ config.NodeHostConfig, messages raftio.MessageHandler, chunks raftio.ChunkHandler) raftio.ITransport {
	return &endpoint{network: e.network, id: e.id, messages: messages, chunks: chunks}
}

// Validate implements config.TransportFactory.
func (*endpoint) Validate(string) bool { return true }

// Name implements raftio.ITransport.
func (*endpoint) Name() string { return "memory" }

// Start implements raftio.ITransport.
func (e *endpoint) Start() error {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	if e.network.nodes == nil {
		e.network.nodes = make(map[string]*endpoint)
	}
	e.network.nodes[e.id] = e
	return nil
}

// Close implements raftio.ITransport.
func (e *endpoint) Close() error {
	e.delivering.Lock()
	e.closed = true
	e.delivering.Unlock()
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	if e.network.nodes[e.id] == e {
		delete(e.network.nodes, e.id)
	}
	return nil
}

// GetConnection implements raftio.ITransport.
func (e *endpoint) GetConnection(_ context.Context, target string) (raftio.IConnection, error) {
	_, err := e.network.reach(e.id, target)
	return &memoryConnection{from: e, to: target}, err
}

// GetSnapshotConnection implements raftio.ITransport.
func (e *endpoint) GetSnapshotConnection(_ context.Context, target string) (raftio.ISnapshotConnection, error) {
	_, err := e.network.reach(e.id, target)
	return &memoryConnection{from: e, to: target}, err
}

type memoryConnection struct {
	from *endpoint
	to   string
}

// Close implements raftio.IConnection.
func (*memoryConnection) Close() {}

// SendMessageBatch implements raftio.IConnection. What is sent is copied, as a
// real network does.
func (c *memoryConnection) SendMessageBatch(batch raftpb.MessageBatch) error {
	c.from.network.carry(c.to, batch)
	to, err := c.from.network.reach(c.from.id, c.to)
	if err != nil {
		return err
	}
	encoded, err := batch.Marshal()
	if err != nil {
		return err
	}
	var arrived raftpb.MessageBatch
	if err := arrived.Unmarshal(encoded); err != nil {
		return err
	}
	to.delivering.RLock()
	defer to.delivering.RUnlock()
	if to.closed {
		return errCut
	}
	to.messages(arrived)
	return nil
}

// SendChunk implements raftio.ISnapshotConnection.
func (c *memoryConnection) SendChunk(chunk raftpb.Chunk) error {
	to, err := c.from.network.reach(c.from.id, c.to)
	if err != nil {
		return err
	}
	encoded, err := chunk.Marshal()
	if err != nil {
		return err
	}
	var arrived raftpb.Chunk
	if err := arrived.Unmarshal(encoded); err != nil {
		return err
	}
	to.delivering.RLock()
	defer to.delivering.RUnlock()
	if to.closed {
		return errCut
	}
	if !to.chunks(arrived) {
		return errors.New("the snapshot is refused")
	}
	return nil
}
