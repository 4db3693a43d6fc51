package catalog_test

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/placement/catalog/catalogtest"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/shardstest"
	"github.com/flotillakv/flotilla/tenancy"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	c := catalogtest.New(t, catalogtest.NewHost(shardstest.Start(t, prometheus.NewRegistry(), 2)), 2)
	row := func(tenant tenancy.TenantID, hour uint64, boot string, requests uint64) catalog.UsageRow {
		return catalog.UsageRow{Tenant: tenant, Hour: hour, Boot: boot, Usage: &flotillav1.Usage{Requests: requests, BytesIn: 2 * requests}}
	}
	text := func(tenant tenancy.TenantID, first, last uint64) (text []string) {
		hours, err := c.Usage(t.Context(), tenant, first, last)
		require.NoError(t, err)
		for _, h := range hours {
			require.Equal(t, 2*h.Usage.GetRequests(), h.Usage.GetBytesIn())
			text = append(text, fmt.Sprintf("%d:%d", h.Hour, h.Usage.GetRequests()))
		}
		return text
	}
	require.Empty(t, text("acme", 0, 1<<30))
	require.NoError(t, c.WriteUsage(t.Context(), []catalog.UsageRow{
		row("acme", 500_000, "a", 1), row("acme", 500_000, "b", 10), row("acme", 500_002, "a", 100),
		row("acme-2", 500_000, "a", 1000), row("acm", 500_000, "a", 1000),
	}))
	require.Equal(t, []string{"500000:11", "500002:100"}, text("acme", 499_999, 500_003))
	require.Equal(t, []string{"500000:11"}, text("acme", 500_000, 500_001))
	require.Equal(t, []string{"500002:100"}, text("acme", 500_001, 500_002))

	require.NoError(t, c.WriteUsage(t.Context(), []catalog.UsageRow{row("acme", 500_000, "a", 5)}))
	require.Equal(t, []string{"500000:15", "500002:100"}, text("acme", 0, 1<<30), "a row is written over")
	require.Equal(t, []string{"500000:1000"}, text("acme-2", 0, 1<<30))

	later := row("acme", 500_001+400*24, "c", 7)
	require.NoError(t, c.WriteUsage(t.Context(), []catalog.UsageRow{later}))
	require.Len(t, text("acme", 0, 1<<30), 3)
	later.First = true
	require.NoError(t, c.WriteUsage(t.Context(), []catalog.UsageRow{later}))
	require.Equal(t, []string{"500002:100", "509601:7"}, text("acme", 0, 1<<30), "what is older than 400 days goes")
	require.Equal(t, []string{"500000:1000"}, text("acme-2", 0, 1<<30), "of that tenant alone")
}

func TestNamespacesByShard(t *testing.T) {
	t.Parallel()
	c := catalogtest.New(t, catalogtest.NewHost(shardstest.Start(t, prometheus.NewRegistry(), 2)), 2)
	require.NoError(t, c.CreateTenant(t.Context(), "acme"))
	_, err := c.CreateNamespaces(t.Context(), "acme", []string{"a", "b", "c"}, tenancy.Limits{}.WithDefaults())
	require.NoError(t, err)
	pages, after := 0, ""
	found := map[tenancy.NamespaceID]bool{}
	for {
		byShard, next, err := c.NamespacesByShard(t.Context(), "acme", after, 2)
		require.NoError(t, err)
		for _, list := range byShard {
			for _, id := range list {
				found[id] = true
			}
		}
		pages++
		if after = next; next == "" {
			break
		}
	}
	require.Len(t, found, 3)
	require.Equal(t, 2, pages)
}
