package peer

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/flotillakv/flotilla/gateway/intercept"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/watch"
)

// Local is the shards of this node: a *shards.Host.
type Local interface {
	Submit(shard shards.ShardID, call *shards.Call) error
	QueryBatch(ctx context.Context, shard shards.ShardID, batch *shards.QueryBatch) error
	Watches(shard shards.ShardID) (*watch.Hub, error)
	Current(ctx context.Context, shard shards.ShardID) error
	Leads(shard shards.ShardID) bool
}

// ServerConfig is how a node answers others. Zero fields take the defaults.
type ServerConfig struct {
	// ClusterID and NodeID are who the node is. Streams that are meant for another
	// are refused; without a NodeID none is.
	ClusterID, NodeID string
	// TLS shows this node's certificate and asks for those of others; nil is no
	// encryption. Whoever it lets in may do everything to every shard.
	TLS *tls.Config
	// Local is the shards of this node; nil for a node without.
	Local Local
	// Membership is served beside, if set.
	Membership internalv1.MembershipServiceServer
	// Quota is served beside, if set.
	Quota internalv1.QuotaServiceServer
	// UnansweredMax and UnansweredBytesMax bound what a stream has begun and not
	// answered, in operations and queries, and in bytes of their requests. No more
	// is read until some is, which holds all tenants up; so they must not be less
	// than what a pool asks, the platform's part and one operation of any size
	// included. Default 49,152 and 192 MiB.
	UnansweredMax, UnansweredBytesMax int
	// UnsentBytesMax is from how many bytes of answers that were not taken a
	// stream reads no more. Default 16 MiB.
	UnsentBytesMax int64
	// DrainMax bounds how long a stop waits for what was begun. Default 5 s.
	DrainMax time.Duration
	Log      *slog.Logger
}

func (c ServerConfig) withDefaults() ServerConfig {
	c.UnansweredMax = cmp.Or(c.UnansweredMax, 48<<10)
	c.UnansweredBytesMax = cmp.Or(c.UnansweredBytesMax, 192<<20)
	c.UnsentBytesMax = cmp.Or(c.UnsentBytesMax, 16<<20)
	c.DrainMax = cmp.Or(c.DrainMax, 5*time.Second)
	if c.Local == nil {
		c.Local = shards.None{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// A Server answers other nodes on the peer port.
type Server struct {
	internalv1.UnimplementedPeerServiceServer
	cfg      ServerConfig
	grpc     *grpc.Server
	metrics  *metrics
	stop     sync.Once
	stopping chan struct{}
}

// NewServer makes a server.
func NewServer(cfg ServerConfig, reg prometheus.Registerer) *Server {
	s := &Server{cfg: cfg.withDefaults(), metrics: newMetrics(reg), stopping: make(chan struct{})}
	options := []grpc.ServerOption{
		grpc.StreamInterceptor(s.recoverStream), grpc.UnaryInterceptor(s.recoverUnary),
		grpc.MaxRecvMsgSize(requestBytesMax), grpc.MaxSendMsgSize(receiveBytesMax),
		grpc.InitialWindowSize(windowBytes), grpc.InitialConnWindowSize(windowBytes),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMin, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
	}
	if cfg.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(cfg.TLS)))
	}
	s.grpc = grpc.NewServer(options...)
	internalv1.RegisterPeerServiceServer(s.grpc, s)
	if cfg.Membership != nil {
		internalv1.RegisterMembershipServiceServer(s.grpc, cfg.Membership)
	}
	if cfg.Quota != nil {
		internalv1.RegisterQuotaServiceServer(s.grpc, cfg.Quota)
	}
	return s
}

// Serve serves on a listener until Stop.
func (s *Server) Serve(listener net.Listener) error {
	if err := s.grpc.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve the peer port: %w", err)
	}
	return nil
}

// Stop has other nodes ask elsewhere, answers what was begun, for a while and for
// at most as long as ctx lasts, and ends the watches. The shards must still run.
func (s *Server) Stop(ctx context.Context) {
	s.stop.Do(func() { close(s.stopping) })
	ctx, cancel := context.WithTimeout(ctx, s.cfg.DrainMax)
	defer cancel()
	end := context.AfterFunc(ctx, s.grpc.Stop)
	defer end()
	s.grpc.GracefulStop()
}

// errStopping refuses streams: nothing was begun.
var errStopping = status.Error(codes.Unavailable, "the node is stopping")

// isStopping tells whether Stop was called.
func (s *Server) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// recoverStream keeps a panic of one stream from ending the node.
func (s *Server) recoverStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	return s.recovered(stream.Context(), info.FullMethod, func() error { return handle(srv, stream) })
}

func (s *Server) recoverUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (response any, err error) {
	err = s.recovered(ctx, info.FullMethod, func() error {
		err := s.admitUnary(ctx, info)
		if err == nil {
			response, err = handle(ctx, req)
		}
		return err
	})
	return response, err
}

// recovered logs what is this node's fault.
func (s *Server) recovered(ctx context.Context, procedure string, handle func() error) error {
	err := func() (err error) {
		defer intercept.Recovered(&err)
		return handle()
	}()
	if _, told := status.FromError(err); !told && ctx.Err() == nil {
		s.cfg.Log.Error("request of another node failed", "procedure", procedure, "err", err)
	}
	return err
}
