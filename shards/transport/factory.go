package transport

import (
	"crypto/tls"
	"log/slog"
	"net"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/prometheus/client_golang/prometheus"
)

// connectionsMax is how many connections of others are taken at once. A node
// has one for messages to each other node, and the library makes up to 64 for
// snapshots.
const connectionsMax = 1024

// Config is who a node is to others, and how it reaches them.
type Config struct {
	// NodeID and ClusterID are the node's own, up to 64 bytes each. Both sides
	// of a connection must be of one cluster.
	NodeID, ClusterID string
	// Listener is the node's Raft port, without TLS. The transport closes it.
	Listener net.Listener
	// ServerTLS and ClientTLS encrypt the connections that are taken and those
	// that are made; both are set, or neither. Both hold the certificate of a
	// node; ServerTLS the authority as ClientCAs, ClientTLS as RootCAs. The
	// transport adds what it insists on: TLS 1.3, certificates of both sides,
	// and VerifyNode. GetConfigForClient is not used.
	ServerTLS, ClientTLS *tls.Config
	// Resolve finds the address of a node, as host:port. It is asked before
	// each connection.
	Resolve func(nodeID string) (address string, ok bool)
	// Source is the local address that connections to others leave from; nil
	// for any. With it, firewalls see one address for each node.
	Source net.IP
	// SnapshotBytesPerSecond bounds what all snapshots that this node sends
	// take together. Zero is no bound; less than 64 KiB counts as 64 KiB.
	SnapshotBytesPerSecond int64
	// Log is where the transport tells which nodes it does not reach, and why.
	Log *slog.Logger
}

// A Factory makes the transport when the consensus library asks for it. It
// implements the library's config.TransportFactory, and serves one library.
type Factory struct {
	cfg     Config
	metrics *metrics
}

var _ config.TransportFactory = (*Factory)(nil)

// New makes a factory, and registers its metrics.
func New(cfg Config, reg prometheus.Registerer) *Factory {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Factory{cfg: cfg, metrics: newMetrics(reg)}
}

// Create implements config.TransportFactory. What comes from other nodes is
// given to the handlers, of one connection in order, of several at once.
func (f *Factory) Create(_ config.NodeHostConfig, messages raftio.MessageHandler, chunks raftio.ChunkHandler) raftio.ITransport {
	return newTransport(f.cfg, f.metrics, messages, chunks)
}

// Validate implements config.TransportFactory: nodes are named by ids, of which
// any is good that is not empty.
func (f *Factory) Validate(target string) bool { return target != "" }
