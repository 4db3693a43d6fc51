package etcd

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
)

type metrics struct {
	duration *prometheus.HistogramVec
	streams  *prometheus.GaugeVec
	// observers are those of duration, found without making a key of labels.
	observers sync.Map // observerKey to prometheus.Observer
}

type observerKey struct {
	procedure string
	code      codes.Code
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "flotilla_etcd_request_duration_seconds",
			Help:    "Time from a request of the etcd API to its answer; of a stream, to its end.",
			Buckets: prometheus.ExponentialBuckets(0.000_25, 2, 18), // 0.25 ms to 33 s
		}, []string{"procedure", "code"}),
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "flotilla_etcd_open_streams", Help: "Streams of the etcd API that are open.",
		}, []string{"procedure"}),
	}
	reg.MustRegister(m.duration, m.streams)
	return m
}

// observe counts a request. Procedures are those that are served, so there are
// few.
func (m *metrics) observe(procedure string, code codes.Code, duration time.Duration) {
	key := observerKey{procedure, code}
	observer, ok := m.observers.Load(key)
	if !ok {
		observer, _ = m.observers.LoadOrStore(key, m.duration.WithLabelValues(procedure, code.String()))
	}
	if o, ok := observer.(prometheus.Observer); ok {
		o.Observe(duration.Seconds())
	}
}
