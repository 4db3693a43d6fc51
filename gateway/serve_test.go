package gateway_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway"
	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/gateway/route"
	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/placement/catalog/catalogtest"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	"github.com/flotillakv/flotilla/shards/shardstest"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

const waitMax = 20 * time.Second

// served is the API over shards of its own, with one tenant and its namespace
// "default".
type served struct {
	t       *testing.T
	url     string
	server  *gateway.Server
	catalog *catalog.Catalog
	metrics *prometheus.Registry
	meter   *meter.Meter
	key     string // of the tenant
}

func serve(t *testing.T, cfg gateway.Config) *served {
	t.Helper()
	s := &served{t: t, metrics: prometheus.NewRegistry()}
	host := shardstest.Start(t, s.metrics, 2)
	log := slog.New(slog.DiscardHandler)
	s.catalog = catalogtest.New(t, catalogtest.NewHost(host), 2)
	s.meter = meter.New(meter.Config{NodeID: catalogtest.NodeID, Ledger: s.catalog, BootID: catalogtest.BootID}, s.metrics)
	require.NoError(t, s.catalog.CreateTenant(t.Context(), "tenant"))
	_, err := s.catalog.CreateNamespaces(t.Context(), "tenant", []string{"default"}, tenancy.Limits{}.WithDefaults())
	require.NoError(t, err)
	s.key = s.newKey()

	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.url = "http://" + listener.Addr().String()
	cfg.ClusterID = catalogtest.ClusterID
	s.server = gateway.New(cfg, route.NewMeteredKV(route.NewRouter(route.RouterConfig{Local: host}), s.catalog, s.meter),
		s.catalog, intercept.NewAuthenticator(intercept.AuthConfig{
			Records: s.catalog, Guard: intercept.NewGuard(time.Now, prometheus.NewRegistry()), Now: time.Now, ClusterID: catalogtest.ClusterID,
		}), intercept.NewMetrics(s.metrics), log)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.server.Serve(listener); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), waitMax)
		defer cancel()
		require.NoError(t, s.server.Stop(ctx))
		serving.Wait()
	})
	return s
}

// newKey makes another API key of the tenant.
func (s *served) newKey() string {
	s.t.Helper()
	key, text, err := auth.GenerateAPIKey(rand.Reader)
	require.NoError(s.t, err)
	hash := key.Hash()
	_, err = s.catalog.CreateAPIKey(s.t.Context(), catalog.APIKey{ID: key.ID(), Tenant: "tenant", SecretHash: hash[:]})
	require.NoError(s.t, err)
	return text
}

// limit gives the tenant limits of its own.
func (s *served) limit(own *flotillav1.Limits) {
	s.t.Helper()
	_, err := s.catalog.SetTenantLimits(s.t.Context(), "tenant", catalog.TenantLimits{Own: own})
	require.NoError(s.t, err)
}

// metric is the value of a gauge without labels.
func (s *served) metric(name string) float64 {
	s.t.Helper()
	families, err := s.metrics.Gather()
	require.NoError(s.t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	require.FailNow(s.t, "no such metric", name)
	return 0
}

// bearer sends an API key with each call.
type bearer string

func (b bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		req.Header().Set("Authorization", "Bearer "+string(b))
		return next(ctx, req)
	}
}

func (b bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		conn.RequestHeader().Set("Authorization", "Bearer "+string(b))
		return conn
	}
}

func (bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// http2 is a client with a connection of its own.
func http2() *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: protocols}}
}

func (s *served) kv() flotillav1connect.KVServiceClient {
	return flotillav1connect.NewKVServiceClient(http2(), s.url, connect.WithInterceptors(bearer(s.key)))
}

func (s *served) put(key, value string) uint64 {
	s.t.Helper()
	put, err := s.kv().Put(s.t.Context(), &flotillav1.PutRequest{Key: []byte(key), Value: []byte(value)})
	require.NoError(s.t, err)
	return put.GetRevision()
}
