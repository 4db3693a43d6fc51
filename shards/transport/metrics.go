package transport

import "github.com/prometheus/client_golang/prometheus"

const (
	directionIn  = "in"
	directionOut = "out"
)

type metrics struct {
	connections              *prometheus.GaugeVec
	refusedHandshakes        *prometheus.CounterVec
	failedConnects           *prometheus.CounterVec
	sentBytes, receivedBytes *prometheus.CounterVec
	badFrames                prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "flotilla_transport_connections",
			Help: "Connections of the Raft port with other nodes, by direction (in, out) and kind (messages, snapshot).",
		}, []string{"direction", "kind"}),
		refusedHandshakes: counter("flotilla_transport_refused_handshakes_total", "Connections that the Raft port refused, by reason.", "reason"),
		failedConnects:    counter("flotilla_transport_failed_connects_total", "Connections to other nodes that did not come about, by reason.", "reason"),
		sentBytes:         counter("flotilla_transport_sent_bytes_total", "Bytes sent to other nodes, by kind (messages, snapshot).", "kind"),
		receivedBytes:     counter("flotilla_transport_received_bytes_total", "Bytes received from other nodes, by kind (messages, snapshot).", "kind"),
		badFrames: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flotilla_transport_bad_frames_total",
			Help: "Frames of other nodes that were damaged or malformed; each ended its connection.",
		}),
	}
	reg.MustRegister(m.connections, m.refusedHandshakes, m.failedConnects, m.sentBytes, m.receivedBytes, m.badFrames)
	return m
}

func (m *metrics) open(direction string, k kind) prometheus.Gauge {
	return m.connections.WithLabelValues(direction, k.String())
}

func (m *metrics) sent(k kind) prometheus.Counter { return m.sentBytes.WithLabelValues(k.String()) }

func (m *metrics) received(k kind) prometheus.Counter {
	return m.receivedBytes.WithLabelValues(k.String())
}

func (m *metrics) refused(why reason) { m.refusedHandshakes.WithLabelValues(string(why)).Inc() }

func (m *metrics) unreached(why reason) { m.failedConnects.WithLabelValues(string(why)).Inc() }
