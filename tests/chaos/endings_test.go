package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1/adminv1connect"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	"github.com/flotillakv/flotilla/tests/process"
)

const (
	// endPromised is how long a credential may be good for at any node after it was
	// ended at one. A longer time is accounted for in the log.
	endPromised = 2 * time.Second
	// endMax is the same on a machine that is as busy as can be.
	endMax = 20 * time.Second
)

// operators is AdminService of a node, from 0, with the first operator's credential.
func operators(t *testing.T, c *process.Cluster, node int) adminv1connect.AdminServiceClient {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(c.Nodes[0].DataDir, "operator.token"))
	require.NoError(t, err)
	return adminv1connect.NewAdminServiceClient(http.DefaultClient, c.OpsURL(node), connect.WithInterceptors(process.Bearer(strings.TrimSpace(string(token)))))
}

// createTenant makes a tenant, whose rates have no limit, by the operators' port of a
// node, and returns its key.
func createTenant(t *testing.T, c *process.Cluster, node int, name string) (key string) {
	t.Helper()
	made, err := operators(t, c, node).CreateTenants(t.Context(), &adminv1.CreateTenantsRequest{Tenants: []*adminv1.NewTenant{{Name: name, Plan: "unlimited"}}})
	require.NoError(t, err)
	require.Nil(t, made.GetResults()[0].GetError())
	return made.GetResults()[0].GetSecret()
}

func tenantsAt(c *process.Cluster, node int, key string) flotillav1connect.TenantServiceClient {
	return flotillav1connect.NewTenantServiceClient(http2Client(), c.APIURLs(node)[0], connect.WithInterceptors(process.Bearer(key)))
}

// TestCredentialsEndAtAllNodes has streams of all kinds open at three nodes, which
// tell nothing, and ends their credentials at one: by revoking an API key, and by
// suspending a tenant. All streams end in time, and no node lets the credential in
// any more. Streams of other credentials do not notice.
func TestCredentialsEndAtAllNodes(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	owner, suspended := createTenant(t, c, 0, "revoking"), createTenant(t, c, 1, "suspended")
	made, err := tenantsAt(c, 0, owner).CreateAPIKey(t.Context(), &flotillav1.CreateAPIKeyRequest{})
	require.NoError(t, err)
	stay := append(openStreams(t, c, c.Info.APIKey), openStreams(t, c, owner)...)
	for _, tt := range []struct {
		name, credential string
		end              func(context.Context) error
		// api and etcd are what the two ports say then.
		api  connect.Code
		etcd error
	}{
		{"a key that is revoked", made.GetSecret(), func(ctx context.Context) error {
			_, err := tenantsAt(c, 1, owner).RevokeAPIKey(ctx, &flotillav1.RevokeAPIKeyRequest{Id: made.GetApiKey().GetId()})
			return err
		}, connect.CodeUnauthenticated, rpctypes.ErrInvalidAuthToken},
		{"a tenant that is suspended", suspended, func(ctx context.Context) error {
			_, err := operators(t, c, 2).SuspendTenant(ctx, &adminv1.SuspendTenantRequest{Tenant: "suspended"})
			return err
		}, connect.CodePermissionDenied, rpctypes.ErrPermissionDenied},
	} {
		t.Run(tt.name, func(t *testing.T) { // one after the other, as the streams that stay are for both
			streams := openStreams(t, c, tt.credential)
			require.Len(t, streams, 15)
			requireAnswers(t, streams)
			require.NoError(t, tt.end(t.Context()))
			ended := time.Now()
			streams = append(streams, callUntilRefused(t, c, tt.credential)...)
			slowest, late := time.Duration(0), time.After(endMax)
			for _, s := range streams {
				select {
				case end := <-s.ended:
					if failed := new(connect.Error); errors.As(end.err, &failed) {
						require.Equal(t, tt.api, failed.Code(), "%s: %v", s.name, end.err)
					} else {
						require.Equal(t, tt.etcd, rpctypes.Error(end.err), s.name)
					}
					slowest = max(slowest, end.at.Sub(ended))
					t.Logf("%s: %s", s.name, end.at.Sub(ended).Round(time.Millisecond))
				case <-late:
					c.LogOutputs(t)
					require.FailNow(t, "a credential is good for too long", s.name)
				}
			}
			if slowest > endPromised {
				c.LogOutputs(t)
			}
			require.LessOrEqual(t, slowest, endMax)
			t.Logf("the last of %d streams and calls ended after %s", len(streams), slowest.Round(time.Millisecond))
		})
	}
	requireAnswers(t, stay)
}

// callUntilRefused calls both ports of each node with a credential, again and again,
// until the calls are refused.
func callUntilRefused(t *testing.T, c *process.Cluster, credential string) (list []*stream) {
	t.Helper()
	again := func(name string, call func() error) {
		s := &stream{name: name, ended: make(chan ending, 1)}
		list = append(list, s)
		go func() {
			pause := time.NewTicker(10 * time.Millisecond)
			defer pause.Stop()
			for ; ; <-pause.C {
				if err := call(); err != nil {
					s.ended <- ending{err, time.Now()}
					return
				}
			}
		}()
	}
	for node := range c.Nodes {
		api := flotillav1connect.NewKVServiceClient(http2Client(), c.APIURLs(node)[0], connect.WithInterceptors(process.Bearer(credential)))
		again(fmt.Sprintf("a call at n%d", node+1), func() error {
			_, err := api.Range(t.Context(), &flotillav1.RangeRequest{})
			return err
		})
		etcd := pb.NewKVClient(dialEtcd(t, c.EtcdEndpoints()[node]))
		again(fmt.Sprintf("a call of etcd at n%d", node+1), func() error {
			_, err := etcd.Range(withToken(t.Context(), credential), &pb.RangeRequest{Key: []byte("k")})
			return err
		})
	}
	return list
}
