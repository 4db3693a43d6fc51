package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/gateway/rest"
	"github.com/flotillakv/flotilla/gateway/route"
	"github.com/flotillakv/flotilla/gateway/unread"
	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	"github.com/flotillakv/flotilla/shards"
)

// Config is how the gateway serves. Zero fields take the defaults.
type Config struct {
	// ClusterID is the cluster's UUID, which the tokens that it gives out name.
	ClusterID string
	// RequestBytesMax is the largest message that is read, in bytes; a tenant may
	// have a smaller one of its own. Default 4 MiB.
	RequestBytesMax int
	// TLS encrypts the port if it is set. Callers with a verified certificate need no
	// credential besides it.
	TLS *tls.Config
	// HeaderTimeout is how long a caller may take to send a request's headers.
	// Default 10 s.
	HeaderTimeout time.Duration
	// IdleTimeout is after how long an idle connection is closed. Default
	// 3 min.
	IdleTimeout time.Duration
	// StreamsMax bounds the streams of one HTTP/2 connection. Default 1,000.
	StreamsMax int
	// WatchProgressInterval is after how long without events a watch that asked
	// for it is told the revision. Default 10 min.
	WatchProgressInterval time.Duration
	// APIURL is the base URL of another node's API, "" if it is not known: callers are
	// told where the leader of what they ask for is. Nil tells nobody.
	APIURL func(node string) string
	// StallMax is how long a caller may take to take one message of a stream,
	// before the stream is ended. Default 30 s.
	StallMax time.Duration
	// Proxies are believed in where a request came from.
	Proxies intercept.Proxies
	// Unread bounds the answers of pipelines that were not taken. Default one of the
	// server's own, of unread.BytesMax.
	Unread *unread.Answers
}

// A Server serves the API.
type Server struct {
	http     *http.Server
	log      *slog.Logger
	stop     sync.Once
	stopping chan struct{}
	watches  route.OpenWatches
}

// New makes the API's server.
func New(
	cfg Config, kv *route.KV, cat *catalog.Catalog, authenticator *intercept.Authenticator, metrics *intercept.Metrics, log *slog.Logger,
) *Server {
	cfg.RequestBytesMax = cmp.Or(cfg.RequestBytesMax, 4<<20)
	cfg.StallMax = cmp.Or(cfg.StallMax, 30*time.Second)
	if cfg.Unread == nil {
		cfg.Unread = unread.New(unread.BytesMax)
	}
	s := &Server{log: log, stopping: make(chan struct{})}
	options := connect.WithHandlerOptions(
		connect.WithInterceptors(connect.UnaryInterceptorFunc(tellCost)), // streams tell none
		intercept.Chain(intercept.Config{Authenticator: authenticator, Metrics: metrics, Log: log}),
		connect.WithInterceptors(metering{kv.Meter()}),
		connect.WithReadMaxBytes(cfg.RequestBytesMax),
		// Most messages are small, and on a busy stream compressing costs more
		// than it saves: answers are compressed only from this size on.
		connect.WithCompressMinBytes(16<<10),
		strictJSON(),
	)
	mux := http.NewServeMux()
	mux.Handle(flotillav1connect.NewKVServiceHandler(&kvHandler{
		kv: kv, auth: authenticator, log: log, stopping: s.stopping, stallMax: cfg.StallMax, unread: cfg.Unread, apiURL: cfg.APIURL,
	}, options))
	mux.Handle(flotillav1connect.NewLeaseServiceHandler(&leaseHandler{kv: kv, auth: authenticator, stopping: s.stopping}, options))
	mux.Handle(flotillav1connect.NewWatchServiceHandler(&watchHandler{
		kv: kv, auth: authenticator, log: log, open: &s.watches,
		progress: cfg.WatchProgressInterval, stallMax: cfg.StallMax,
	}, options))
	mux.Handle(flotillav1connect.NewAuthServiceHandler(&authHandler{catalog: cat, meter: kv.Meter(), clusterID: cfg.ClusterID, now: time.Now}, options))
	mux.Handle(jwksPath, newJWKS(cat, time.Now, log))
	mux.Handle(flotillav1connect.NewTenantServiceHandler(&tenantHandler{auth: authenticator, administration: administration{catalog: cat, kv: kv, now: time.Now}},
		options, connect.WithInterceptors(newActs(time.Now))))
	mux.HandleFunc("/", rest.NotFound)
	procedures := limitBodyTime(intercept.KeepResponse(intercept.KeepCertificate(mux)), intercept.TimeoutMax, log)
	plain := rest.New(kv, authenticator, metrics, log, &s.watches, cfg.StallMax)

	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	protocols.SetHTTP2(true)
	s.http = &http.Server{
		TLSConfig:         cfg.TLS,
		Protocols:         protocols,
		ReadHeaderTimeout: cmp.Or(cfg.HeaderTimeout, 10*time.Second),
		IdleTimeout:       cmp.Or(cfg.IdleTimeout, 3*time.Minute),
		MaxHeaderBytes:    64 << 10,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          cmp.Or(cfg.StreamsMax, 1000),
			MaxReceiveBufferPerConnection: 4 << 20,
			MaxReceiveBufferPerStream:     2 << 20,
			MaxReadFrameSize:              256 << 10,
		},
		ConnContext: meter.ConnContext,
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		Handler: cfg.Proxies.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if rest.Serves(r.URL.Path) {
				plain.ServeHTTP(w, r)
				return
			}
			procedures.ServeHTTP(w, r)
		})),
	}
	return s
}

// Serve serves on a listener until Stop.
func (s *Server) Serve(listener net.Listener) error {
	if err := ServeHTTP(s.http, meter.Listener(listener)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the API: %w", err)
	}
	return nil
}

// ServeHTTP serves on a listener, encrypted if the server has a TLS configuration.
// Its error is never nil; it is http.ErrServerClosed once the server was stopped.
func ServeHTTP(server *http.Server, listener net.Listener) error {
	if server.TLSConfig != nil {
		return server.ServeTLS(listener, "", "")
	}
	return server.Serve(listener)
}

// Stop lets the requests that were begun come to their end, for at most as
// long as ctx lasts. Pipelines take no more operations: their callers get a
// retryable error once those that were taken are answered. Watches end with one
// at once.
func (s *Server) Stop(ctx context.Context) error {
	s.stop.Do(func() {
		close(s.stopping)
		s.watches.End(shards.ErrStopping)
	})
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("stop serving the API: %w", err), s.http.Close())
	}
	return nil
}
