package node

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/store"
)

func TestStoreCollector(t *testing.T) {
	t.Parallel()
	readOnly := false
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(newStoreCollector(
		func() store.Metrics { return store.Metrics{DiskBytes: 7, WriteStalls: 3} }, t.TempDir(), func() bool { return readOnly }))
	gathered := func() map[string]float64 {
		families, err := reg.Gather()
		require.NoError(t, err)
		values := make(map[string]float64)
		for _, f := range families {
			m := f.GetMetric()[0]
			values[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
		return values
	}
	values := gathered()
	require.Equal(t, 7, int(values["flotilla_store_disk_bytes"]))
	require.Equal(t, 3, int(values["flotilla_store_write_stalls_total"]))
	require.Positive(t, values["flotilla_disk_free_bytes"])
	require.Zero(t, values["flotilla_node_read_only"])
	readOnly = true
	require.Equal(t, 1, int(gathered()["flotilla_node_read_only"]))
}
