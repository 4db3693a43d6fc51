package catalog_test

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/placement/catalog/catalogtest"
	"github.com/flotillakv/flotilla/shards/shardstest"
)

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// newTimed makes a catalog whose clock the test moves; each look-up reads.
func newTimed(t *testing.T) (*catalog.Catalog, *clock) {
	t.Helper()
	c := &clock{now: time.UnixMilli(1_800_000_000_000)}
	host := catalogtest.NewHost(shardstest.Start(t, prometheus.NewRegistry(), 2))
	catalogtest.New(t, host, 2)
	made, err := catalog.New(host, catalog.NewDirectory(), catalog.Config{}, c.Now, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return made, c
}

// newTimedTenant makes a tenant with a namespace and a key of id "k1".
func newTimedTenant(t *testing.T, c *catalog.Catalog, name string) {
	t.Helper()
	made := c.CreateTenants(t.Context(), []catalog.NewTenant{{ID: tenantID(name), Namespace: "default", Key: &catalog.APIKey{ID: "k1", SecretHash: []byte("hash")}}})
	require.NoError(t, made[0].Err)
}
