package isolation

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/ops/node"
	"github.com/flotillakv/flotilla/placement/catalog"
	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1/adminv1connect"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// waitMax bounds everything that a test waits for.
const waitMax = 20 * time.Second

// world is the node that all tests of this package share: each has tenants of its
// own, which is what the package is about.
type world struct {
	node *node.Node
	// owner is the credential of the first operator.
	owner string
	log   *record
	// tenants counts the tenants that tests have made.
	tenants atomic.Int64
}

var shared *world

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "flotilla-isolation-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	stop, err := start(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "start a node:", err)
		return 1
	}
	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the node:", err)
		return 1
	}
	return code
}

// start runs the node. It lets nobody in without a credential, on no port.
func start(dir string) (stop func() error, err error) {
	shared = &world{log: &record{}}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	cfg := node.Config{
		DataDir: filepath.Join(dir, "data"), Bootstrap: true, DataShards: 2, PrivateIssuers: true, Name: "n1",
		Addresses: node.Addresses{ListenAPI: "127.0.0.1:0", ListenOps: "127.0.0.1:0", ListenEtcd: "127.0.0.1:0"},
		Log:       slog.New(slog.NewTextHandler(shared.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	cfg.Etcd.Reflection = true
	go func() {
		ended <- node.Run(ctx, cfg, func(_ context.Context, n *node.Node) error {
			shared.node = n
			close(ready)
			return nil
		})
	}()
	select {
	case <-ready:
	case err := <-ended:
		cancel()
		return nil, errors.Join(err, errors.New("the node has ended"))
	}
	text, err := os.ReadFile(shared.node.OperatorFile())
	shared.owner = strings.TrimSpace(string(text))
	return func() error { cancel(); return <-ended }, err
}

// record keeps what the node logs.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// tenant is a tenant of a test.
type tenant struct {
	name string
	// key is its first API key, which allows everything.
	key string
}

// id is the public part of the first key.
func (a *tenant) id() string { return idOf(a.key) }

func idOf(key string) string { return strings.Split(key, "_")[1] }

// newTenant makes a tenant with the namespaces "default" and "other".
func newTenant(t *testing.T) *tenant {
	t.Helper()
	a := createTenant(t, &adminv1.NewTenant{Name: fmt.Sprintf("t-%d", shared.tenants.Add(1)), Plan: "unlimited"})
	_, err := admin(shared.owner).CreateNamespaces(t.Context(), &adminv1.CreateNamespacesRequest{Tenant: a.name, Names: []string{"other"}})
	require.NoError(t, err)
	return a
}

func createTenant(t *testing.T, asked *adminv1.NewTenant) *tenant {
	t.Helper()
	made, err := admin(shared.owner).CreateTenants(t.Context(), &adminv1.CreateTenantsRequest{Tenants: []*adminv1.NewTenant{asked}})
	require.NoError(t, err)
	require.Nil(t, made.GetResults()[0].GetError())
	return &tenant{name: asked.GetName(), key: made.GetResults()[0].GetSecret()}
}

// allow makes a key of the tenant that allows what is said.
func (a *tenant) allow(t *testing.T, permissions ...tenancy.Permission) string {
	t.Helper()
	return a.newKey(t, time.Time{}, permissions...)
}

// newKey puts a key into the catalog, which takes those that have expired too.
func (a *tenant) newKey(t *testing.T, expire time.Time, permissions ...tenancy.Permission) string {
	t.Helper()
	key, secret, err := auth.GenerateAPIKey(rand.Reader)
	require.NoError(t, err)
	hash := key.Hash()
	_, err = shared.node.Catalog().CreateAPIKey(t.Context(), catalog.APIKey{
		ID: key.ID(), Tenant: tenancy.TenantID(a.name), SecretHash: hash[:], Expire: expire, Permissions: permissions,
	})
	require.NoError(t, err)
	return secret
}

// admin is AdminService with an operator's credential.
func admin(credential string) adminv1connect.AdminServiceClient {
	return adminv1connect.NewAdminServiceClient(http1(""), shared.node.OpsURL(), connect.WithInterceptors(bearer(credential)))
}

// services are those of the API's port with a credential.
type services struct {
	kv      flotillav1connect.KVServiceClient
	watches flotillav1connect.WatchServiceClient
	leases  flotillav1connect.LeaseServiceClient
	tenants flotillav1connect.TenantServiceClient
	auth    flotillav1connect.AuthServiceClient
}

func as(credential string) services {
	client, with := http2(""), connect.WithInterceptors(bearer(credential))
	url := shared.node.APIURL()
	return services{
		kv: flotillav1connect.NewKVServiceClient(client, url, with), watches: flotillav1connect.NewWatchServiceClient(client, url, with),
		leases: flotillav1connect.NewLeaseServiceClient(client, url, with), tenants: flotillav1connect.NewTenantServiceClient(client, url, with),
		auth: flotillav1connect.NewAuthServiceClient(client, url, with),
	}
}

// exchange is a token of a credential.
func exchange(t *testing.T, credential string, request *flotillav1.ExchangeTokenRequest) string {
	t.Helper()
	made, err := as(credential).auth.ExchangeToken(t.Context(), request)
	require.NoError(t, err)
	return made.GetToken()
}

// bearer sends a credential with each call; "" sends none.
type bearer string

func (b bearer) header() string {
	if b == "" || strings.HasPrefix(string(b), "Basic ") {
		return string(b)
	}
	return "Bearer " + string(b)
}

// WrapUnary implements connect.Interceptor.
func (b bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if b != "" {
			req.Header().Set("Authorization", b.header())
		}
		return next(ctx, req)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (b bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		if b != "" {
			conn.RequestHeader().Set("Authorization", b.header())
		}
		return conn
	}
}

// WrapStreamingHandler implements connect.Interceptor; these are clients.
func (bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}
