package node_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/flotillakv/flotilla/ops/node"
	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1/adminv1connect"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// run runs a node until the end of the test.
func run(t *testing.T, proxies ...string) *node.Node {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan *node.Node, 1), make(chan error, 1)
	cfg := node.Config{
		DataDir: filepath.Join(t.TempDir(), "data"), Bootstrap: true, DataShards: 1, Name: "n1", TrustedProxies: proxies,
		Addresses: node.Addresses{ListenAPI: "127.0.0.1:0", ListenOps: "127.0.0.1:0", ListenEtcd: "127.0.0.1:0"},
	}
	go func() {
		ended <- node.Run(ctx, cfg, func(_ context.Context, n *node.Node) error {
			ready <- n
			return nil
		})
	}()
	select {
	case n := <-ready:
		t.Cleanup(func() { stop(); require.NoError(t, <-ended) })
		return n
	case err := <-ended:
		stop()
		require.NoError(t, err)
		return nil
	}
}

// from has calls sent with a credential, and say that they come from an address.
func from(credential, address string) connect.ClientOption {
	return connect.WithInterceptors(connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			req.Header().Set("Authorization", "Bearer "+credential)
			req.Header().Set("X-Forwarded-For", "198.51.100.1, "+address)
			return next(ctx, req)
		}
	}))
}

// doors are the ways in: each tries a wrong credential, the same each time, and says
// where it comes from. It tells whether the credential was not even looked at.
func doors(t *testing.T, n *node.Node) map[string]func(address string) (refused bool) {
	t.Helper()
	wrong := func() (auth.APIKey, string) {
		key, text, err := auth.GenerateAPIKey(rand.Reader)
		require.NoError(t, err)
		return key, text
	}
	_, connectKey := wrong()
	_, httpKey := wrong()
	_, tokenKey := wrong()
	etcdKey, etcdText := wrong()
	_, operator, err := auth.GenerateOperatorKey("nobody", rand.Reader)
	require.NoError(t, err)
	conn, err := grpc.NewClient("passthrough:///"+strings.TrimPrefix(n.EtcdURL(), "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	etcdFrom := func(address string) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), "x-forwarded-for", "198.51.100.1", "x-forwarded-for", address)
	}
	return map[string]func(string) bool{
		"Connect": func(address string) bool {
			_, err := flotillav1connect.NewKVServiceClient(http.DefaultClient, n.APIURL(), from(connectKey, address)).Get(t.Context(), &flotillav1.GetRequest{Key: []byte("k")})
			require.Error(t, err)
			return connect.CodeOf(err) == connect.CodeResourceExhausted
		},
		"plain HTTP": func(address string) bool {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.APIURL()+"/v1/kv/k", nil)
			require.NoError(t, err)
			req.Header.Set("Authorization", "Bearer "+httpKey)
			req.Header.Set("X-Forwarded-For", "198.51.100.1, "+address)
			response, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			return response.StatusCode == http.StatusTooManyRequests
		},
		"etcd, a login": func(address string) bool {
			_, err := pb.NewAuthClient(conn).Authenticate(etcdFrom(address), &pb.AuthenticateRequest{Name: etcdKey.ID(), Password: etcdText})
			require.Error(t, err)
			return status.Code(err) == codes.ResourceExhausted
		},
		"etcd, a token": func(address string) bool {
			ctx := metadata.AppendToOutgoingContext(etcdFrom(address), "token", tokenKey)
			_, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("k")})
			require.Error(t, err)
			return status.Code(err) == codes.ResourceExhausted
		},
		"operators": func(address string) bool {
			_, err := adminv1connect.NewAdminServiceClient(http.DefaultClient, n.OpsURL(), from(operator, address)).ListTenants(t.Context(), &adminv1.ListTenantsRequest{})
			require.Error(t, err)
			return connect.CodeOf(err) == connect.CodeResourceExhausted
		},
	}
}

// triesMax is more than one credential may fail while the test runs, and less than all
// of an address may: that one door was refused tells nothing of the next.
const triesMax = 70

// Behind a proxy that is trusted each client has failed logins of its own; who only
// says that it comes from elsewhere has not, at no door.
func TestFailedLoginsAreTheClients(t *testing.T) {
	t.Parallel()
	t.Run("trusted", func(t *testing.T) {
		t.Parallel()
		for name, login := range doors(t, run(t, "127.0.0.0/8")) {
			tries := 0
			for !login("203.0.113.1") {
				tries++
				require.Less(t, tries, triesMax, name)
			}
			require.False(t, login("203.0.113.2"), "%s: another client is looked at", name)
		}
	})
	t.Run("not trusted", func(t *testing.T) {
		t.Parallel()
		for name, login := range doors(t, run(t, "192.0.2.1")) {
			tries := 0
			for !login([]string{"203.0.113.1", "203.0.113.2", "127.0.0.1", "192.0.2.1"}[tries%4]) {
				tries++
				require.Less(t, tries, triesMax, name)
			}
		}
	})
}

// The audit log tells the client's address if a trusted proxy does, and the other side
// of the connection else, whatever the request says.
func TestAuditTellsTheClient(t *testing.T) {
	t.Parallel()
	for want, proxies := range map[string][]string{
		`^203\.0\.113\.7$`:   {"10.0.0.0/8", "127.0.0.1"},
		`^127\.0\.0\.1:\d+$`: nil,
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			n := run(t, proxies...)
			token, err := os.ReadFile(n.OperatorFile())
			require.NoError(t, err)
			admin := adminv1connect.NewAdminServiceClient(http.DefaultClient, n.OpsURL(), from(strings.TrimSpace(string(token)), "203.0.113.7"))
			made, err := admin.CreateTenants(t.Context(), &adminv1.CreateTenantsRequest{Tenants: []*adminv1.NewTenant{{Name: "acme"}}})
			require.NoError(t, err)
			tenant := flotillav1connect.NewTenantServiceClient(http.DefaultClient, n.APIURL(), from(made.GetResults()[0].GetSecret(), "203.0.113.7"))
			_, err = tenant.CreateAPIKey(t.Context(), &flotillav1.CreateAPIKeyRequest{})
			require.NoError(t, err)
			log, err := admin.ListAudit(t.Context(), &adminv1.ListAuditRequest{Tenant: "acme"})
			require.NoError(t, err)
			require.Len(t, log.GetEntries(), 2)
			for _, entry := range log.GetEntries() {
				require.Regexp(t, want, entry.GetAddress(), entry.GetAct())
			}
		})
	}
}
