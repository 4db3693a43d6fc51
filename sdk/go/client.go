package flotilla

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"connectrpc.com/connect"

	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
)

// A Client talks to Flotilla for one tenant. Safe for concurrent use.
type Client struct {
	cfg       Config
	endpoints *endpoints
	kv        flotillav1connect.KVServiceClient
	leases    flotillav1connect.LeaseServiceClient
	watches   flotillav1connect.WatchServiceClient
	tenants   flotillav1connect.TenantServiceClient
	pipelines []*pipeline // one to each endpoint
	keeper    *keeper
	budget    retryBudget
	ids       requestIDs
	closing   sync.Once
	closed    chan struct{} // ends the watches
}

// New makes a client. It connects with the first call.
func New(cfg Config) (*Client, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("flotilla: %w", err)
	}
	cfg = cfg.withDefaults()
	options := []connect.ClientOption{
		connect.WithInterceptors(credential(cfg.APIKey)),
		connect.WithReadMaxBytes(64 << 20),
		// Compressing the answers of a busy pipeline costs the server more
		// than the rest of a read.
		connect.WithAcceptCompression("gzip", nil, nil),
	}
	base := cfg.endpoints()[0]
	all := newEndpoints(cfg.HTTPClient, cfg.endpoints())
	c := &Client{
		cfg:       cfg,
		endpoints: all,
		kv:        flotillav1connect.NewKVServiceClient(all, base, options...),
		leases:    flotillav1connect.NewLeaseServiceClient(all, base, options...),
		watches:   flotillav1connect.NewWatchServiceClient(all, base, options...),
		tenants:   flotillav1connect.NewTenantServiceClient(all, base, options...),
		ids:       newRequestIDs(),
		closed:    make(chan struct{}),
	}
	c.budget.init()
	for place := range all.urls {
		kv := flotillav1connect.NewKVServiceClient(endpoint{all, place}, base, options...)
		c.pipelines = append(c.pipelines, newPipeline(kv.Pipeline, all.learn))
	}
	c.keeper = newKeeper(c.openRenewals)
	return c, nil
}

// Close ends the client's connections. Calls and watches under way fail, and leases that it
// holds are kept alive no longer.
func (c *Client) Close() error {
	c.closing.Do(func() { close(c.closed) })
	c.keeper.close()
	for _, p := range c.pipelines {
		p.close()
	}
	if own, ok := c.cfg.HTTPClient.(*http.Client); ok {
		own.CloseIdleConnections()
	}
	return nil
}

// Namespace returns a handle on one of the tenant's namespaces. It asks
// nothing of the server: calls fail if there is none of this name.
func (c *Client) Namespace(name string) *Namespace {
	return &Namespace{Name: name, KV: &KV{client: c, namespace: name}, Leases: &Leases{client: c, namespace: name}}
}

// Namespace is one isolated key space of the tenant.
type Namespace struct {
	// Name is its name.
	Name string
	// KV is its keys.
	KV *KV
	// Leases is its leases.
	Leases *Leases
}

// credential adds the API key to every request.
type credential string

// WrapUnary implements connect.Interceptor.
func (c credential) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		req.Header().Set("Authorization", "Bearer "+string(c))
		return next(ctx, req)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (c credential) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		conn.RequestHeader().Set("Authorization", "Bearer "+string(c))
		return conn
	}
}

// WrapStreamingHandler implements connect.Interceptor; this is a client.
func (c credential) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}
