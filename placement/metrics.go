package placement

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/flotillakv/flotilla/placement/plan"
)

// metrics are what the loop tells of itself. A node that does not lead the system
// shard tells what was when it last did.
type metrics struct {
	steps           map[plan.Kind]prometheus.Counter
	underReplicated prometheus.Gauge
	lastLoop        prometheus.Gauge
	leads           prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	with := promauto.With(reg)
	steps := with.NewCounterVec(prometheus.CounterOpts{
		Name: "flotilla_placement_steps_total",
		Help: "Steps that placement has taken on this node, by kind.",
	}, []string{"kind"})
	m := &metrics{
		steps: make(map[plan.Kind]prometheus.Counter),
		underReplicated: with.NewGauge(prometheus.GaugeOpts{
			Name: "flotilla_placement_under_replicated_shards",
			Help: "Shards with fewer voters on living nodes than they should have; 0 on nodes that do not run the loop.",
		}),
		lastLoop: with.NewGauge(prometheus.GaugeOpts{
			Name: "flotilla_placement_last_loop_timestamp_seconds",
			Help: "When placement last looked at the whole cluster from this node, in seconds since 1970.",
		}),
		leads: with.NewGauge(prometheus.GaugeOpts{
			Name: "flotilla_placement_loop_runs",
			Help: "1 on the node that runs the placement loop, 0 on others.",
		}),
	}
	for _, kind := range plan.Kinds() {
		m.steps[kind] = steps.WithLabelValues(string(kind))
	}
	return m
}
