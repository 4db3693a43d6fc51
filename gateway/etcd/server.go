package etcd

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/gateway/route"
	"github.com/flotillakv/flotilla/gateway/unread"
)

// Config is how the etcd v3 API is served. Zero fields take the defaults.
type Config struct {
	// ClusterID and NodeID are the ids from which etcd's numbers are made.
	ClusterID, NodeID string
	// Members lists the nodes that serve the API, this one included.
	Members func() []Member
	// TempDir is where snapshots are made ready to be sent.
	TempDir string
	// MaxRequestBytes bounds a write, as in etcd. Default 1.5 MiB.
	MaxRequestBytes int
	// ProgressInterval is how often an idle watch that asks for it is told the
	// revision. Default 10 min; at least 100 ms.
	ProgressInterval time.Duration
	// StallMax is how long an answer of a watch, or of another stream that
	// may be large or silent for long, may be on its way before the stream is
	// ended, which frees what it holds. Default 1 min.
	StallMax time.Duration
	// StreamsMax bounds the requests and streams of one connection that are
	// open at the same time; clients keep more back by themselves. Default
	// 10,000. etcd has no bound, and so none for what they hold.
	StreamsMax uint32
	// Unread bounds the answers that this node gathers or keeps until they are
	// taken, of more than 32 KiB each; more are refused. Default one of the
	// server's own, of unread.BytesMax.
	Unread *unread.Answers
	// TLS encrypts the port if it is set. Clients with a verified certificate
	// need no password.
	TLS *tls.Config
	// Proxies are believed in where a request came from.
	Proxies intercept.Proxies
	// Anonymous lets callers on this machine in who name nobody.
	Anonymous *Anonymous
	// Reflection serves gRPC reflection.
	Reflection bool
}

// withDefaults fills the zero fields.
func (c Config) withDefaults() Config {
	if c.Members == nil {
		c.Members = func() []Member { return nil }
	}
	c.MaxRequestBytes = cmp.Or(c.MaxRequestBytes, 3<<19)
	c.ProgressInterval = max(cmp.Or(c.ProgressInterval, 10*time.Minute), 100*time.Millisecond)
	c.StallMax = cmp.Or(c.StallMax, time.Minute)
	if c.Unread == nil {
		c.Unread = unread.New(unread.BytesMax)
	}
	c.StreamsMax = cmp.Or(c.StreamsMax, 10_000)
	return c
}

const (
	// recvOverheadBytes is what a message may be larger than a write, as in
	// etcd.
	recvOverheadBytes = 512 << 10
	// windowBytes are the flow-control windows: large enough that a busy
	// connection does not wait for the other side's updates.
	windowBytes = 1 << 20
	// streamWorkers serve requests on goroutines that stay: new ones would each
	// grow their stack anew, which took a twelfth of a busy server's time. What
	// finds none free gets a goroutine of its own.
	streamWorkers = 256
	// keepaliveMin is how often clients may ask whether the connection lives,
	// as in etcd.
	keepaliveMin = 5 * time.Second
)

// A Server serves the etcd v3 API.
type Server struct {
	cfg       Config
	kv        *route.KV
	node      Node
	door      *door
	identity  identity
	metrics   *metrics
	log       *slog.Logger
	grpc      *grpc.Server
	health    *health.Server
	snapshots *snapshots
	// stopping ends the streams and waits that would not end by themselves.
	stopping chan struct{}
}

// New makes the server.
func New(cfg Config, kv *route.KV, node Node, authenticator *intercept.Authenticator, reg prometheus.Registerer, log *slog.Logger) *Server {
	cfg = cfg.withDefaults()
	s := &Server{
		cfg: cfg, kv: kv, node: node, log: log, identity: newIdentity(cfg.ClusterID, cfg.NodeID),
		door: &door{
			auth: authenticator, kv: kv, proxies: cfg.Proxies,
			anonymous: cfg.Anonymous, answers: cfg.Unread,
		},
		metrics: newMetrics(reg), stopping: make(chan struct{}),
		snapshots: newSnapshots(),
	}
	if err := removeSnapshots(cfg.TempDir); err != nil {
		log.Warn("what is left of snapshots was not removed", "err", err)
	}
	options := []grpc.ServerOption{
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream), grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(cfg.MaxRequestBytes + recvOverheadBytes), grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.MaxConcurrentStreams(cfg.StreamsMax),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.InitialWindowSize(windowBytes), grpc.InitialConnWindowSize(windowBytes),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMin}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 2 * time.Hour, Timeout: 20 * time.Second}),
	}
	if cfg.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(cfg.TLS)))
	}
	s.grpc, s.health = grpc.NewServer(options...), health.NewServer()
	pb.RegisterKVServer(s.grpc, &kvServer{Server: s})
	pb.RegisterWatchServer(s.grpc, &watchServer{Server: s})
	pb.RegisterLeaseServer(s.grpc, &leaseServer{Server: s})
	pb.RegisterAuthServer(s.grpc, &authServer{Server: s})
	pb.RegisterClusterServer(s.grpc, &clusterServer{Server: s})
	pb.RegisterMaintenanceServer(s.grpc, &maintenanceServer{Server: s})
	s.grpc.RegisterService(lockService(), &lockServer{queues{s}})
	s.grpc.RegisterService(electionService(), &electionServer{queues{s}})
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	if cfg.Reflection {
		reflection.Register(s.grpc)
	}
	return s
}

// Serve serves on a listener until Stop.
func (s *Server) Serve(listener net.Listener) error {
	if err := s.grpc.Serve(meter.Listener(listener)); err != nil {
		return fmt.Errorf("serve the etcd API: %w", err)
	}
	return nil
}

// drainMax bounds how long a stop waits for requests.
const drainMax = 5 * time.Second

// Stop lets the requests that were begun come to their end, for a while. Watches
// and other long streams end at once, such that their clients go on elsewhere;
// streams that a client holds open without need do not hold up the stop.
func (s *Server) Stop(ctx context.Context) {
	s.health.Shutdown()
	close(s.stopping)
	ctx, cancel := context.WithTimeout(ctx, drainMax)
	defer cancel()
	end := context.AfterFunc(ctx, s.grpc.Stop)
	defer end()
	s.grpc.GracefulStop()
}
