package shards

import (
	"sync/atomic"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"
)

// gate keeps what other nodes send from the engine until it has started, and from
// other nodes what harms. The engine starts its transport before the rest of itself,
// and takes a message that comes in between, as on a busy node that starts again, for
// the end of the world. Raft sends again what is dropped.
type gate struct {
	config.TransportFactory
	open       atomic.Bool
	heartbeats *heartbeats
}

// Create implements config.TransportFactory.
func (g *gate) Create(cfg config.NodeHostConfig, messages raftio.MessageHandler, chunks raftio.ChunkHandler) raftio.ITransport {
	transport := g.TransportFactory.Create(cfg,
		func(batch raftpb.MessageBatch) {
			if g.open.Load() {
				messages(batch)
			}
		},
		func(chunk raftpb.Chunk) bool { return g.open.Load() && chunks(chunk) },
	)
	return &heartbeatTransport{transport, g.heartbeats}
}
