package peer

import "github.com/prometheus/client_golang/prometheus"

// metrics is what a server counts.
type metrics struct {
	streams   prometheus.Gauge
	watches   prometheus.Gauge
	commands  prometheus.Counter
	queries   prometheus.Counter
	malformed prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	operations := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "flotilla_peer_operations_total", Help: "Commands and queries that other nodes asked for.",
	}, []string{"kind"})
	m := &metrics{
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "flotilla_peer_open_streams", Help: "Streams of operations that other nodes have here.",
		}),
		watches: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "flotilla_peer_open_watch_streams", Help: "Streams of watches that other nodes have here.",
		}),
		commands: operations.WithLabelValues("command"), queries: operations.WithLabelValues("query"),
		malformed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flotilla_peer_malformed_total", Help: "Operations of other nodes that could not be understood.",
		}),
	}
	reg.MustRegister(m.streams, m.watches, operations, m.malformed)
	return m
}
