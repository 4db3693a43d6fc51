package meter

import "github.com/prometheus/client_golang/prometheus"

// The limits that a meter holds tenants to, as errors name them.
const (
	limitRequests    = "requests_per_second"
	limitBytes       = "bytes_per_second"
	limitConnections = "connections_max"
)

// metrics are what a meter tells.
type metrics struct {
	requests, bytes, connections prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, tenants func() float64) *metrics {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "flotilla_gateway_refused_requests_total", Help: "Requests refused because a tenant is at a limit.",
	}, []string{"limit"})
	reg.MustRegister(refused, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "flotilla_gateway_active_tenants", Help: "Tenants that this gateway has served within a minute or so.",
	}, tenants))
	return &metrics{
		requests: refused.WithLabelValues(limitRequests), bytes: refused.WithLabelValues(limitBytes),
		connections: refused.WithLabelValues(limitConnections),
	}
}
