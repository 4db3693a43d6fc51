package etcd_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/flotillakv/flotilla/gateway/etcd"
	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/gateway/route"
	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/placement/catalog/catalogtest"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/shardstest"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// node is a host with room on its disk.
type node struct{ *shards.Host }

func (node) ReadOnly() bool { return false }

const waitMax = 20 * time.Second

// served is the etcd v3 API over shards of its own.
type served struct {
	t       *testing.T
	address string
	host    *shards.Host
	catalog *catalog.Catalog
	metrics *prometheus.Registry
	meter   *meter.Meter
}

func serve(t *testing.T, cfg etcd.Config) *served {
	t.Helper()
	metrics, log := prometheus.NewRegistry(), slog.New(slog.DiscardHandler)
	s := &served{t: t, host: shardstest.Start(t, metrics, 2), metrics: metrics}
	s.catalog = catalogtest.New(t, catalogtest.NewHost(s.host), 2)
	s.meter = meter.New(meter.Config{NodeID: catalogtest.NodeID, Ledger: s.catalog, BootID: catalogtest.BootID}, metrics)
	s.address = s.serve(cfg, log)
	return s
}

// serve serves the shards until the end of the test.
func (s *served) serve(cfg etcd.Config, log *slog.Logger) (address string) {
	s.t.Helper()
	cfg.TempDir = s.t.TempDir()
	listener, err := new(net.ListenConfig).Listen(s.t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	server := etcd.New(cfg, route.NewMeteredKV(route.NewRouter(route.RouterConfig{Local: s.host}), s.catalog, s.meter), node{s.host}, intercept.NewAuthenticator(intercept.AuthConfig{
		Records: s.catalog, Guard: intercept.NewGuard(time.Now, prometheus.NewRegistry()), Now: time.Now, ClusterID: catalogtest.ClusterID,
	}), s.metrics, log)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); err != nil {
			s.t.Errorf("serve: %v", err)
		}
	})
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), waitMax)
		defer cancel()
		server.Stop(ctx)
		serving.Wait()
	})
	return listener.Addr().String()
}

// openStreams is how many streams the server has of a procedure.
func (s *served) openStreams(procedure string) float64 {
	s.t.Helper()
	families, err := s.metrics.Gather()
	require.NoError(s.t, err)
	for _, f := range families {
		if f.GetName() != "flotilla_etcd_open_streams" {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == procedure {
				return m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

// newTenant makes a tenant with a namespace "default", and returns an API key.
func (s *served) newTenant(tenant tenancy.TenantID) string {
	s.t.Helper()
	ctx := s.t.Context()
	require.NoError(s.t, s.catalog.CreateTenant(ctx, tenant))
	_, err := s.catalog.CreateNamespaces(ctx, tenant, []string{"default"}, tenancy.Limits{}.WithDefaults())
	require.NoError(s.t, err)
	key, text, err := auth.GenerateAPIKey(rand.Reader)
	require.NoError(s.t, err)
	hash := key.Hash()
	_, err = s.catalog.CreateAPIKey(ctx, catalog.APIKey{ID: key.ID(), Tenant: tenant, SecretHash: hash[:]})
	require.NoError(s.t, err)
	return text
}

// dial makes a connection of its own.
func dial(tb testing.TB, address string) *grpc.ClientConn {
	tb.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// as is a context of calls by an API key.
func as(ctx context.Context, key string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "token", key)
}

// fill puts keys with values of random bytes, which nothing makes smaller.
func fill(ctx context.Context, t *testing.T, conn *grpc.ClientConn, keys, valueBytes int) {
	t.Helper()
	for i := range keys {
		value := make([]byte, valueBytes)
		rand.Read(value)
		_, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte{'k', byte(i)}, Value: value})
		require.NoError(t, err)
	}
}
