package node

import (
	"context"
	"errors"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/gateway/oidc"
	"github.com/flotillakv/flotilla/gateway/peer"
	"github.com/flotillakv/flotilla/gateway/route"
	"github.com/flotillakv/flotilla/gateway/unread"
	"github.com/flotillakv/flotilla/ops/version"
	"github.com/flotillakv/flotilla/placement/catalog"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards/fault"
	"github.com/flotillakv/flotilla/shards/machine"
)

// startRouting makes the way to all shards, wherever they are, and the catalog
// over it.
func (n *Node) startRouting(ctx context.Context) (func() error, error) {
	stop := nothing
	metering := meter.Config{NodeID: n.dir.Identity().NodeID, Now: fault.Now, Log: n.cfg.Log}
	cfg := route.RouterConfig{NodeID: n.dir.Identity().NodeID, Level: n.directory.Level}
	if n.host != nil {
		cfg.Local = n.host
	}
	if !n.alone() {
		pool := peer.NewPool(context.WithoutCancel(ctx), peer.PoolConfig{
			ClusterID: n.dir.Identity().ClusterID, Address: n.peerAddress, TLS: n.tls.clusterClient, Source: source(n.cfg.ListenPeer), Log: n.cfg.Log,
		})
		cfg.Remote, cfg.Directory = pool, n.directory
		metering.Remote, metering.Directory = pool, n.directory
		stop = func() error {
			pool.Close()
			return nil
		}
	}
	n.router = route.NewRouter(cfg)
	var err error
	if n.catalog, err = catalog.New(n.router, n.directory, catalog.Config{}, fault.Now, n.cfg.Log); err != nil {
		return nil, err
	}
	metering.Ledger, metering.BootID = n.catalog, n.bootID
	n.meter = meter.New(metering, n.metrics)
	n.kv = route.NewMeteredKV(n.router, n.catalog, n.meter)
	n.guard, n.requests = intercept.NewGuard(fault.Now, n.metrics), intercept.NewMetrics(n.metrics)
	n.unread = unread.New(unread.BytesMax)
	n.keyUses = intercept.NewKeyUses(n.catalog, fault.Now, n.cfg.Log)
	n.authenticator = intercept.NewAuthenticator(intercept.AuthConfig{
		Records: n.catalog, ClusterID: n.dir.Identity().ClusterID, Uses: n.keyUses, Guard: n.guard, Now: fault.Now,
		Issuers: oidc.New(oidc.Config{AllowPrivate: n.cfg.PrivateIssuers, Now: fault.Now, Log: n.cfg.Log}),
	})
	return stop, nil
}

// startMeter has the rates of tenants shared with other nodes, and their usage
// written down.
func (n *Node) startMeter(ctx context.Context) (func() error, error) {
	stopRun, stopCount := n.background(ctx, n.meter.Run), n.background(ctx, n.meter.Count)
	return func() error { return errors.Join(stopCount(), stopRun()) }, nil
}

// record is what the node says of itself.
func (n *Node) record() *internalv1.NodeRecord {
	record := &internalv1.NodeRecord{
		Name: n.cfg.Name, Zone: n.cfg.Zone, BootId: n.bootID, BootTimeMs: uint64(n.started.UnixMilli()),
		Version: version.String(), Level: machine.Level, Hosts: n.hosts(),
		PeerAddress: n.ports.advertised.peer, RaftAddress: n.ports.advertised.raft,
	}
	if n.ports.api != nil {
		record.ApiUrl, record.EtcdUrl = n.APIURL(), n.EtcdURL()
	}
	return record
}
