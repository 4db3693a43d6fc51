// Package node puts the parts of one process together: data directory, store,
// shards, catalog, placement and gateway; it starts them in the order in which
// they need each other and stops them in reverse.
package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/flotillakv/flotilla/gateway"
	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/gateway/route"
	"github.com/flotillakv/flotilla/gateway/unread"
	"github.com/flotillakv/flotilla/ops/datadir"
	"github.com/flotillakv/flotilla/placement"
	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/store"
)

const (
	// stopTimeout bounds each part of a stop.
	stopTimeout = 15 * time.Second
)

// A Node is one running process's worth of Flotilla.
type Node struct {
	cfg     Config
	bootID  string // of this process
	metrics *prometheus.Registry
	dir     *datadir.Dir
	// introduces is whether the node says to others where it is: not before it is
	// sure that it is no copy.
	introduces bool
	// bootstraps is whether the node makes a new cluster.
	bootstraps bool
	ports      listeners
	directory  *catalog.Directory
	store      *store.Store // nil without replicas, as is host
	host       *shards.Host
	router     *route.Router
	catalog    *catalog.Catalog
	membership *placement.Membership
	seen       seen
	skews      skews
	tls        tlsConfigs
	meter      *meter.Meter
	kv         *route.KV
	// authenticator finds out who makes a request, on both ports of tenants.
	authenticator *intercept.Authenticator
	keyUses       *intercept.KeyUses
	guard         *intercept.Guard
	requests      *intercept.Metrics
	// proxies are believed in where a request came from, on all ports that have callers.
	proxies intercept.Proxies
	// unread bounds the answers that callers do not take, on both ports of tenants.
	unread *unread.Answers
	// admin serves operators; nil until the catalog can be reached.
	admin   atomic.Pointer[http.Handler]
	server  *gateway.Server
	started time.Time
	// registered is closed once the catalog knows this process as the node.
	registered chan struct{}
	// serving is whether all parts run: before and after, the operators' port
	// tells of a node that starts or stops.
	serving  atomic.Bool
	failed   chan error // the first fault that ends the node
	failOnce sync.Once
}

// Run runs a node until ctx ends or a part of it fails. ready is called once,
// when the node serves; an error of it ends the node.
func Run(ctx context.Context, cfg Config, ready func(context.Context, *Node) error) (err error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	proxies, err := intercept.ParseProxies(cfg.TrustedProxies)
	if err != nil {
		return err
	}
	n := &Node{
		cfg: cfg, bootID: rand.Text(), metrics: prometheus.NewRegistry(), directory: catalog.NewDirectory(),
		proxies: proxies, started: time.Now(), failed: make(chan error, 1), registered: make(chan struct{}),
	}
	n.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	// Each part that starts adds how it is stopped.
	var stops []func() error
	defer func() {
		for _, stop := range slices.Backward(stops) {
			err = errors.Join(err, stop())
		}
	}()
	for _, part := range []func(context.Context) (func() error, error){
		n.loadTLS,       // what is wrong with a certificate is told first
		n.listen,        // a taken port is told before anything is written
		n.openDirectory, // it says who the node is, and whether it may touch the data
		n.serveOps,
		n.openStore,
		n.startHost,
		n.startRouting,
		n.startReplicas,  // those that ran here before: others may wait for them
		n.servePeers,     // so that others can reach them, and know the node
		n.startDiskWatch, // before callers come, so that a full disk is known
		n.join,           // from then on the catalog knows the node
		n.startPlacement,
		n.startAdmin,
		n.startMeter,
		n.serveEtcd,
		n.serve, // from then on the node is ready
		n.drain, // last: it is the first to be undone
	} {
		stop, err := part(ctx)
		if err != nil {
			return err
		}
		stops = append(stops, stop)
	}
	if err := n.settle(ctx); err != nil {
		return err
	}
	if ctx.Err() == nil {
		if err := ready(ctx, n); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-n.failed:
		return err
	}
}

// fail ends the node.
func (n *Node) fail(err error) {
	n.failOnce.Do(func() { n.failed <- err })
}

// hosts tells whether the node hosts replicas.
func (n *Node) hosts() bool { return !n.cfg.GatewayOnly }

// alone tells whether the node has no port for others.
func (n *Node) alone() bool { return n.cfg.ListenPeer == "" }

// nothing is how a part is stopped that has nothing to stop.
func nothing() error { return nil }

func (n *Node) openStore(context.Context) (func() error, error) {
	if !n.hosts() {
		return nothing, nil
	}
	cfg := n.cfg.Store
	cfg.Dir, cfg.Logger, cfg.OnFatal = n.dir.State(), n.cfg.Log, n.fail
	st, err := store.Open(cfg)
	if err != nil {
		return nil, err
	}
	n.store = st
	return st.Close, nil
}

func (n *Node) startDiskWatch(ctx context.Context) (func() error, error) {
	if !n.hosts() {
		return nothing, nil
	}
	watch := datadir.DiskWatch{
		Watermark:   n.cfg.Disk,
		Free:        func() (uint64, error) { return datadir.FreeBytes(n.dir.Path()) },
		SetReadOnly: n.host.SetReadOnly,
		Log:         n.cfg.Log,
	}
	// The watch looks on its own goroutine, so the first look is taken here.
	if free, err := watch.Free(); err == nil {
		n.host.SetReadOnly(watch.Watermark.WithDefaults().ReadOnly(false, free))
	}
	return n.background(ctx, watch.Run), nil
}

// background runs a part on a goroutine, and returns what ends it and waits.
func (n *Node) background(ctx context.Context, run func(context.Context) error) func() error {
	// It ends in its turn, not with the node's context.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			n.fail(err)
		}
	}()
	return func() error {
		cancel()
		<-done
		return nil
	}
}

// serveOps serves the operators' port from the start, so that a probe is told
// that the node is starting while it replays its log.
func (n *Node) serveOps(context.Context) (func() error, error) {
	server := &http.Server{
		Handler: gateway.OpsHandler(n, n.metrics, http.HandlerFunc(n.serveAdmin), n.proxies), ReadHeaderTimeout: 10 * time.Second, TLSConfig: n.tls.ops,
		ErrorLog: slog.NewLogLogger(n.cfg.Log.Handler(), slog.LevelDebug),
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := gateway.ServeHTTP(server, n.ports.ops); !errors.Is(err, http.ErrServerClosed) {
			n.fail(fmt.Errorf("serve the operators' port: %w", err))
		}
	})
	return func() error {
		err := server.Close()
		serving.Wait()
		return err
	}, nil
}

func (n *Node) serve(ctx context.Context) (func() error, error) {
	cfg := n.cfg.Gateway
	cfg.TLS, cfg.ClusterID, cfg.APIURL, cfg.Proxies = n.tls.api, n.dir.Identity().ClusterID, n.directory.APIURL, n.proxies
	cfg.Unread = n.unread
	n.server = gateway.New(cfg, n.kv, n.catalog, n.authenticator, n.requests, n.cfg.Log)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := n.server.Serve(n.ports.api); err != nil {
			n.fail(err)
		}
	})
	n.serving.Store(true)
	return func() error {
		n.serving.Store(false)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err := n.server.Stop(ctx)
		serving.Wait()
		return err
	}, nil
}

// APIURL is the base URL of the API, as others reach it.
func (n *Node) APIURL() string { return urlOf(n.tls.api != nil, n.ports.advertised.api) }

// OpsURL is the base URL of the operators' port.
func (n *Node) OpsURL() string { return urlOf(n.tls.ops != nil, n.ports.ops.Addr().String()) }

// EtcdURL is the address of the etcd v3 API as etcd's clients take it, and as
// MemberList tells it to them.
func (n *Node) EtcdURL() string { return urlOf(n.tls.etcd != nil, n.ports.advertised.etcd) }

// PeerAddress is where other nodes reach this one, "" if they do not.
func (n *Node) PeerAddress() string { return n.ports.advertised.peer }

func urlOf(encrypted bool, address string) string {
	if encrypted {
		return "https://" + address
	}
	return "http://" + address
}

// Catalog is the node's catalog.
func (n *Node) Catalog() *catalog.Catalog { return n.catalog }

// Name is what its operator calls the node.
func (n *Node) Name() string { return n.cfg.Name }
