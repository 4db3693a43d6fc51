package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/ops/node"
	"github.com/flotillakv/flotilla/placement/catalog"
	flotilla "github.com/flotillakv/flotilla/sdk/go"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// TestTenantsDoNotSeeEachOther has two tenants on one node, with namespaces
// and keys of the same names. Nothing that b does shows whether something of a
// exists.
func TestTenantsDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	clients := startTenants(t, "a", "b")
	a, b := clients["a"], clients["b"]
	ctx := t.Context()
	require.NoError(t, a.CreateNamespaces(ctx, "shared-name", "of-a"))
	require.NoError(t, b.CreateNamespaces(ctx, "shared-name"))
	put, err := a.Namespace("shared-name").KV.Put(ctx, "k", []byte("secret of a"), &flotilla.PutOptions{RequestID: "id"})
	require.NoError(t, err)
	_, err = a.Namespace("of-a").KV.Put(ctx, "k", []byte("secret of a"), nil)
	require.NoError(t, err)

	shared := b.Namespace("shared-name").KV
	_, err = shared.Get(ctx, "k", nil)
	require.ErrorIs(t, err, flotilla.ErrKeyNotFound)
	n, err := shared.Count(ctx, flotilla.AllKeys(), nil)
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = shared.Get(ctx, "k", &flotilla.GetOptions{Revision: put.Revision})
	require.ErrorIs(t, err, flotilla.ErrRevisionInFuture, "a revision of a is none of b")
	own, err := shared.Put(ctx, "k", []byte("of b"), &flotilla.PutOptions{RequestID: "id"})
	require.NoError(t, err, "a request id of a is none of b")
	require.Equal(t, uint64(2), own.Revision)
	_, err = shared.DeleteRange(ctx, flotilla.AllKeys(), nil)
	require.NoError(t, err)
	found, err := a.Namespace("shared-name").KV.Get(ctx, "k", nil)
	require.NoError(t, err)
	require.Equal(t, "secret of a", string(found.Value))

	// What is not b's is refused as what does not exist is.
	_, foreign := b.Namespace("of-a").KV.Get(ctx, "k", nil)
	_, absent := b.Namespace("of-x").KV.Get(ctx, "k", nil)
	require.ErrorIs(t, foreign, flotilla.ErrNamespaceNotFound)
	require.Equal(t, absent.Error(), foreign.Error())
	_, foreign = b.Namespace("of-a").KV.Put(ctx, "k", nil, &flotilla.PutOptions{IfAbsent: true})
	require.Equal(t, absent.Error(), foreign.Error())
	require.NoError(t, b.CreateNamespaces(ctx, "of-a"), "a name that another tenant has is free")
	for ns, err := range b.Namespaces(ctx) {
		require.NoError(t, err)
		require.Contains(t, []string{"shared-name", "of-a"}, ns.Name)
	}

	_, _, err = b.CreateAPIKey(ctx, flotilla.APIKeySpec{Description: "second"}) // else it is the last, which is refused for that
	require.NoError(t, err)
	ofA, err := a.APIKeys(ctx)
	require.NoError(t, err)
	ofB, err := b.APIKeys(ctx)
	require.NoError(t, err)
	require.Len(t, ofA, 1)
	require.Len(t, ofB, 2)
	foreign = b.RevokeAPIKey(ctx, ofA[0].ID)
	absent = b.RevokeAPIKey(ctx, "aaaaaaaaaaaaaaaa")
	require.Error(t, foreign)
	require.Equal(t, absent.Error(), foreign.Error())
	_, err = a.Namespace("of-a").KV.Get(ctx, "k", nil)
	require.NoError(t, err, "the key of a was not revoked")
}

// startTenants runs a node in this process, whose catalog can make tenants,
// and returns a client of each.
func startTenants(t *testing.T, tenants ...tenancy.TenantID) map[tenancy.TenantID]*flotilla.Client {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan struct{}), make(chan error, 1)
	clients := make(map[tenancy.TenantID]*flotilla.Client)
	cfg := node.Config{
		DataDir: filepath.Join(t.TempDir(), "data"), Bootstrap: true, DataShards: 4,
		Addresses: node.Addresses{ListenAPI: "127.0.0.1:0", ListenOps: "127.0.0.1:0", ListenEtcd: "127.0.0.1:0"},
	}
	go func() {
		ended <- node.Run(ctx, cfg, func(ctx context.Context, n *node.Node) error {
			for _, tenant := range tenants {
				client, err := createTenant(ctx, n, tenant)
				if err != nil {
					return err
				}
				clients[tenant] = client
			}
			close(ready)
			return nil
		})
	}()
	select {
	case <-ready:
	case err := <-ended:
		stop()
		require.NoError(t, errors.Join(err, errors.New("the node ended")))
	}
	t.Cleanup(func() {
		for _, client := range clients {
			_ = client.Close()
		}
		stop()
		require.NoError(t, <-ended)
	})
	return clients
}

func createTenant(ctx context.Context, n *node.Node, tenant tenancy.TenantID) (*flotilla.Client, error) {
	if err := n.Catalog().CreateTenant(ctx, tenant); err != nil {
		return nil, err
	}
	key, secret, err := auth.GenerateAPIKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	hash := key.Hash()
	if _, err := n.Catalog().CreateAPIKey(ctx, catalog.APIKey{ID: key.ID(), Tenant: tenant, SecretHash: hash[:]}); err != nil {
		return nil, err
	}
	return flotilla.New(flotilla.Config{URL: n.APIURL(), APIKey: secret})
}
