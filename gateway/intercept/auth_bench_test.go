package intercept

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/placement/catalog/catalogtest"
	"github.com/flotillakv/flotilla/shards/shardstest"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// follow is a catalog that is kept true, as each node has one.
func follow(b *testing.B, host catalog.Host) *catalog.Catalog {
	b.Helper()
	c, err := catalog.New(host, catalog.NewDirectory(), catalog.Config{}, time.Now, slog.New(slog.DiscardHandler))
	require.NoError(b, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(b.Context()))
	var following sync.WaitGroup
	following.Go(func() { _ = c.Run(ctx) }) // it is always nil
	b.Cleanup(func() { stop(); following.Wait() })
	return c
}

// BenchmarkAuthenticate finds the principal of a credential that is in memory, as
// that of each request but a tenant's first: about 1 us for an API key, and 2 us for
func BenchmarkAuthenticate(b *testing.B) {
	host := catalogtest.NewHost(shardstest.Start(b, prometheus.NewRegistry(), 2))
	catalogtest.New(b, host, 2)
	c := follow(b, host)
	key, text, err := auth.GenerateAPIKey(rand.Reader)
	require.NoError(b, err)
	hash := key.Hash()
	made := c.CreateTenants(b.Context(), []catalog.NewTenant{{ID: "acme", Key: &catalog.APIKey{ID: key.ID(), SecretHash: hash[:]}}})
	require.NoError(b, made[0].Err)
	signing, err := c.SigningKey(b.Context())
	require.NoError(b, err)
	now := time.Now()
	token, err := auth.SignToken(signing.TokenKey, TokenIssuer(catalogtest.ClusterID), auth.Claims{
		Tenant: "acme", KeyID: key.ID(), Issued: now, Expire: now.Add(auth.TokenTTLMax),
	})
	require.NoError(b, err)
	authenticator := NewAuthenticator(AuthConfig{
		Records: c, ClusterID: catalogtest.ClusterID, Guard: NewGuard(time.Now, prometheus.NewRegistry()), Now: time.Now,
		Uses: NewKeyUses(c, time.Now, nil),
	})
	for name, credential := range map[string]string{"key": text, "token": token} {
		b.Run(name, func(b *testing.B) {
			caller := Caller{Authorization: "Bearer " + credential, Address: "192.0.2.1:4000"}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := authenticator.Authenticate(context.Background(), caller); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
