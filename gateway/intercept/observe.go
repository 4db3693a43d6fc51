package intercept

import (
	"context"
	"crypto/rand"
	"log/slog"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
)

// RequestIDHeader carries a number that names one call in logs and errors.
const RequestIDHeader = "Flotilla-Request-Id"

type requestIDKey struct{}

// WithRequestID gives a call a new id, unless it has one.
func WithRequestID(ctx context.Context) (context.Context, string) {
	if id := RequestID(ctx); id != "" {
		return ctx, id
	}
	id := rand.Text()
	return context.WithValue(ctx, requestIDKey{}, id), id
}

// RequestID is the id of the call, to report a fault by.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// Metrics count the requests of the API's port.
type Metrics struct {
	duration *prometheus.HistogramVec
	streams  *prometheus.GaugeVec
}

// NewMetrics makes and registers them.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "flotilla_gateway_request_duration_seconds",
			Help:    "Time from a request's first byte to its answer; of a stream, to its end.",
			Buckets: prometheus.ExponentialBuckets(0.000_25, 2, 18), // 0.25 ms to 33 s
		}, []string{"procedure", "code"}),
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "flotilla_gateway_open_streams", Help: "Streaming RPCs that are open.",
		}, []string{"procedure"}),
	}
	reg.MustRegister(m.duration, m.streams)
	return m
}

// Observe counts a request. A procedure is one of a few names, never what a
// caller wrote.
func (m *Metrics) Observe(procedure, code string, duration time.Duration) {
	m.duration.WithLabelValues(procedure, code).Observe(duration.Seconds())
}

// observe measures each RPC and logs one line, with the final code.
func observe(m *Metrics, log *slog.Logger) layer {
	return func(ctx context.Context, c call, next func(context.Context) error) error {
		start := time.Now()
		ctx, id := WithRequestID(ctx)
		c.response.Set(RequestIDHeader, id)
		if c.stream {
			open := m.streams.WithLabelValues(c.procedure)
			open.Inc()
			defer open.Dec()
		}
		err := next(ctx)
		code := "ok"
		if err != nil {
			code = connect.CodeOf(err).String()
		}
		duration := time.Since(start)
		m.Observe(c.procedure, code, duration)
		log.Debug("rpc", "procedure", c.procedure, "code", code, "duration", duration, "request_id", id, "peer", c.peer)
		return err
	}
}
