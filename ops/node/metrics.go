package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/flotillakv/flotilla/ops/datadir"
	"github.com/flotillakv/flotilla/shards/store"
)

// storeCollector tells of the store and of its disk, as of each scrape.
type storeCollector struct {
	metrics func() store.Metrics
	dir     string
	// readOnly tells whether writes are refused for want of space.
	readOnly func() bool
	figures  []storeFigure

	free, readOnlyDesc *prometheus.Desc
}

type storeFigure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(store.Metrics) float64
}

func newStoreCollector(metrics func() store.Metrics, dir string, readOnly func() bool) *storeCollector {
	figure := func(name, help string, kind prometheus.ValueType, of func(store.Metrics) float64) storeFigure {
		return storeFigure{prometheus.NewDesc("flotilla_store_"+name, help, nil, nil), kind, of}
	}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	return &storeCollector{
		metrics: metrics, dir: dir, readOnly: readOnly,
		free:         prometheus.NewDesc("flotilla_disk_free_bytes", "Bytes that may still be written to the data directory's disk.", nil, nil),
		readOnlyDesc: prometheus.NewDesc("flotilla_node_read_only", "1 while writes are refused because the disk is nearly full.", nil, nil),
		figures: []storeFigure{
			figure("disk_bytes", "Size of the database's files.", gauge, func(m store.Metrics) float64 { return float64(m.DiskBytes) }),
			figure("memtable_bytes", "Memory of what is not flushed, or is being read.", gauge, func(m store.Metrics) float64 { return float64(m.MemTableBytes) }),
			figure("cache_bytes", "What the block cache holds.", gauge, func(m store.Metrics) float64 { return float64(m.CacheBytes) }),
			figure("cache_hits_total", "Block reads that the cache answered.", counter, func(m store.Metrics) float64 { return float64(m.CacheHits) }),
			figure("cache_misses_total", "Block reads that the cache did not answer.", counter, func(m store.Metrics) float64 { return float64(m.CacheMisses) }),
			figure("flushes_total", "Flushes of memtables.", counter, func(m store.Metrics) float64 { return float64(m.Flushes) }),
			figure("flush_failures_total", "Attempts to flush that failed.", counter, func(m store.Metrics) float64 { return float64(m.FlushFailures) }),
			figure("flushed_bytes_total", "Bytes that flushes wrote.", counter, func(m store.Metrics) float64 { return float64(m.FlushedBytes) }),
			figure("compactions_total", "LSM compactions.", counter, func(m store.Metrics) float64 { return float64(m.Compactions) }),
			figure("compacted_bytes_total", "Bytes that LSM compactions wrote.", counter, func(m store.Metrics) float64 { return float64(m.CompactedBytes) }),
			figure("compaction_debt_bytes", "Estimate of what is to be compacted for the tree to be in shape.", gauge, func(m store.Metrics) float64 { return float64(m.CompactionDebtBytes) }),
			figure("read_amplification", "In how many places a read must look at worst.", gauge, func(m store.Metrics) float64 { return float64(m.ReadAmplification) }),
			figure("write_stalls_total", "How often writers had to wait for the disk.", counter, func(m store.Metrics) float64 { return float64(m.WriteStalls) }),
		},
	}
}

// Describe implements prometheus.Collector.
func (c *storeCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, f := range c.figures {
		descs <- f.desc
	}
	descs <- c.free
	descs <- c.readOnlyDesc
}

// Collect implements prometheus.Collector. What cannot be told is left out.
func (c *storeCollector) Collect(found chan<- prometheus.Metric) {
	m := c.metrics()
	for _, f := range c.figures {
		found <- prometheus.MustNewConstMetric(f.desc, f.kind, f.of(m))
	}
	if free, err := datadir.FreeBytes(c.dir); err == nil {
		found <- prometheus.MustNewConstMetric(c.free, prometheus.GaugeValue, float64(free))
	}
	readOnly := 0.0
	if c.readOnly() {
		readOnly = 1
	}
	found <- prometheus.MustNewConstMetric(c.readOnlyDesc, prometheus.GaugeValue, readOnly)
}
