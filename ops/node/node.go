// Package node puts the parts of one process together: data directory, store,
// shards, catalog and gateway; it starts them in the order in which they need
// each other and stops them in reverse.
package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/flotillakv/flotilla/gateway"
	"github.com/flotillakv/flotilla/gateway/route"
	"github.com/flotillakv/flotilla/ops/datadir"
	"github.com/flotillakv/flotilla/placement/catalog"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/store"
)

const (
	// startTimeout bounds the wait for the shards to be ready: a start after
	// a crash replays the logs.
	startTimeout = 2 * time.Minute
	// stopTimeout bounds each part of a stop.
	stopTimeout = 15 * time.Second
)

// A Node is one running process's worth of Flotilla.
type Node struct {
	cfg      Config
	metrics  *prometheus.Registry
	dir      *datadir.Dir
	store    *store.Store
	host     *shards.Host
	catalog  *catalog.Catalog
	kv       *route.KV
	api, ops net.Listener
	etcd     net.Listener
	// etcdAddress is where clients reach etcd.
	etcdAddress string
	server      *gateway.Server
	started     time.Time
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
	n := &Node{cfg: cfg, metrics: prometheus.NewRegistry(), started: time.Now(), failed: make(chan error, 1)}
	n.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	// Each part that starts adds how it is stopped.
	var stops []func() error
	defer func() {
		for _, stop := range slices.Backward(stops) {
			err = errors.Join(err, stop())
		}
	}()
	for _, part := range []func(context.Context) (func() error, error){
		n.openDirectory, // first: it says whether this process may touch the data
		n.listen,        // a taken port is told before any work is done
		n.serveOps,
		n.openStore,
		n.startShards,
		n.startCatalog,
		n.startDiskWatch, // before callers come, so that a full disk is known
		n.serveEtcd,
		n.serve, // last: from then on the node is ready
	} {
		stop, err := part(ctx)
		if err != nil {
			return err
		}
		stops = append(stops, stop)
	}
	if err := ready(ctx, n); err != nil {
		return err
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

func (n *Node) openDirectory(context.Context) (func() error, error) {
	layout := datadir.Layout{LogStoreShards: n.cfg.Shards.LogStores, ExecShards: n.cfg.Shards.LogStores}
	dir, err := datadir.Open(n.cfg.DataDir, datadir.Options{Layout: layout, Now: n.started})
	if err != nil {
		return nil, err
	}
	n.dir = dir
	if err := n.checkDataShards(); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir.Close, nil
}

func (n *Node) listen(ctx context.Context) (func() error, error) {
	var lc net.ListenConfig
	api, err := lc.Listen(ctx, "tcp", n.cfg.ListenAPI)
	if err != nil {
		return nil, fmt.Errorf("--listen-api: %w: choose another address, or end the process that has it", err)
	}
	ops, err := lc.Listen(ctx, "tcp", n.cfg.ListenOps)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--listen-ops: %w: choose another address, or end the process that has it", err), api.Close())
	}
	etcd, err := n.listenEtcd(ctx)
	if err != nil {
		return nil, errors.Join(err, api.Close(), ops.Close())
	}
	n.api, n.ops, n.etcd = api, ops, etcd
	return func() error { // the servers have closed them, unless they never served
		_, _, _ = api.Close(), ops.Close(), etcd.Close()
		return nil
	}, nil
}

func (n *Node) openStore(context.Context) (func() error, error) {
	cfg := n.cfg.Store
	cfg.Dir, cfg.Logger, cfg.OnFatal = n.dir.State(), n.cfg.Log, n.fail
	st, err := store.Open(cfg)
	if err != nil {
		return nil, err
	}
	n.store = st
	return st.Close, nil
}

func (n *Node) startShards(ctx context.Context) (func() error, error) {
	cfg := n.cfg.Shards
	cfg.NodeID, cfg.Dir = n.dir.Identity().NodeID, n.dir.Raft()
	cfg.LogStores = n.dir.Identity().LogStoreShards
	data := n.dataShards()
	host, err := shards.Start(ctx, cfg, n.store, n.dir, n.metrics, n.cfg.Log, n.fail)
	if err != nil {
		return nil, err
	}
	n.host = host
	n.metrics.MustRegister(newStoreCollector(n.store.Metrics, n.dir.Path(), host.ReadOnly))
	stop := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		return host.Stop(ctx)
	}
	for _, shard := range append([]shards.ShardID{shards.SystemShard}, data...) {
		if err := host.StartReplica(shards.ReplicaSpec{Shard: shard, Replica: shards.FirstReplica, First: true}); err != nil {
			return nil, errors.Join(err, stop())
		}
	}
	waiting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := host.WaitReady(waiting); err != nil {
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

// dataShardsDefault is how many shards a new directory has for namespaces.
const dataShardsDefault = 4

// checkDataShards refuses another number of shards than the directory has.
func (n *Node) checkDataShards() error {
	if wanted, have := n.cfg.DataShards, len(n.dataShards()); wanted != 0 && wanted != have {
		return fmt.Errorf("--data-shards is %d, but the data directory has %d, which its first start has fixed: leave the flag out, or use another directory", wanted, have)
	}
	return nil
}

// dataShards are the shards of tenants' namespaces: those that were started
// here before, or as many as configured in a new directory.
func (n *Node) dataShards() []shards.ShardID {
	var ids []shards.ShardID
	for _, r := range n.dir.Replicas() {
		if r.Shard != shards.SystemShard {
			ids = append(ids, r.Shard)
		}
	}
	if len(ids) == 0 {
		for i := range cmp.Or(n.cfg.DataShards, dataShardsDefault) {
			ids = append(ids, shards.SystemShard+1+shards.ShardID(i))
		}
	}
	return ids
}

func (n *Node) startCatalog(ctx context.Context) (func() error, error) {
	var err error
	n.catalog, err = catalog.New(n.host, catalog.NewDirectory(), catalog.Config{}, time.Now, n.cfg.Log)
	if err != nil {
		return nil, err
	}
	identity := n.dir.Identity()
	err = n.catalog.EnsureCluster(ctx, catalog.Bootstrap{
		ClusterID: identity.ClusterID, NodeID: identity.NodeID, DataShards: n.dataShards(),
		Node: &internalv1.NodeRecord{Name: identity.NodeID, Hosts: true, Level: machine.Level},
	})
	if err != nil {
		return nil, err
	}
	n.kv = route.NewKV(route.NewRouter(route.RouterConfig{NodeID: n.dir.Identity().NodeID, Local: n.host}), n.catalog)
	return n.background(ctx, n.catalog.Run), nil
}

func (n *Node) startDiskWatch(ctx context.Context) (func() error, error) {
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
	ctx, cancel := context.WithCancel(ctx)
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
	server := &http.Server{Handler: gateway.OpsHandler(n, n.metrics), ReadHeaderTimeout: 10 * time.Second}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(n.ops); !errors.Is(err, http.ErrServerClosed) {
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
	n.server = gateway.New(n.cfg.Gateway, n.kv, n.catalog, n.metrics, n.cfg.Log)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := n.server.Serve(n.api); err != nil {
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

// APIURL is the base URL of the API.
func (n *Node) APIURL() string { return "http://" + n.api.Addr().String() }

// OpsURL is the base URL of the operators' port.
func (n *Node) OpsURL() string { return "http://" + n.ops.Addr().String() }

// Catalog is the node's catalog.
func (n *Node) Catalog() *catalog.Catalog { return n.catalog }
