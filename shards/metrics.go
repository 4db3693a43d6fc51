package shards

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flotillakv/flotilla/shards/replica"
)

// metrics are the host's figures. They are labeled by shard, of which a node
// has tens, never by tenant or namespace.
type metrics struct {
	entries, commands, refused, failed, readRounds, snapshots, expiredLeases *prometheus.CounterVec
	leader                                                                   *prometheus.GaugeVec
	reg                                                                      prometheus.Registerer
}

type shardMetrics struct {
	entries, commands, refused, failed, readRounds, snapshots, expiredLeases prometheus.Counter
	leader                                                                   prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"shard"})
		reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"shard"})
		reg.MustRegister(g)
		return g
	}
	return &metrics{
		entries:       counter("flotilla_shard_proposed_entries_total", "Log entries proposed by this node."),
		commands:      counter("flotilla_shard_proposed_commands_total", "Commands in these entries; divided by the entries, the size of a group commit."),
		refused:       counter("flotilla_shard_refused_commands_total", "Commands refused because a queue was full."),
		failed:        counter("flotilla_shard_failed_entries_total", "Entries that were dropped, or whose outcome is unknown."),
		readRounds:    counter("flotilla_shard_read_rounds_total", "ReadIndex rounds; each serves all reads that wait."),
		snapshots:     counter("flotilla_shard_bounded_logs_total", "Times that the log was shortened because of its bytes."),
		expiredLeases: counter("flotilla_shard_expired_leases_total", "Leases that ended because they were not kept alive, by this node's commands."),
		reg:           reg,
		leader:        gauge("flotilla_shard_is_leader", "1 on the node that leads the shard."),
	}
}

func (m *metrics) of(shard ShardID) *shardMetrics {
	label := strconv.FormatUint(uint64(shard), 10)
	return &shardMetrics{
		entries: m.entries.WithLabelValues(label), commands: m.commands.WithLabelValues(label),
		refused: m.refused.WithLabelValues(label), failed: m.failed.WithLabelValues(label),
		readRounds:    m.readRounds.WithLabelValues(label),
		snapshots:     m.snapshots.WithLabelValues(label),
		expiredLeases: m.expiredLeases.WithLabelValues(label),
		leader:        m.leader.WithLabelValues(label),
	}
}

// watchReplica shows what a shard's replica is asked for when it is read, until
// forget.
func (m *metrics) watchReplica(shard ShardID, r *replica.Replica) (shown []prometheus.Collector) {
	gauge := func(name, help string, value func() float64) {
		g := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: name, Help: help, ConstLabels: prometheus.Labels{"shard": strconv.FormatUint(uint64(shard), 10)},
		}, value)
		m.reg.MustRegister(g)
		shown = append(shown, g)
	}
	gauge("flotilla_shard_applied_index", "Index of the last applied log entry.",
		func() float64 { return float64(r.AppliedIndex()) })
	gauge("flotilla_shard_leases", "Leases of the shard's namespaces.",
		func() float64 { return float64(r.Leases()) })
	return shown
}

// watchTurns shows how many long reads there are.
func (m *metrics) watchTurns(t *turns) {
	gauge := func(name, help string, value func(running, waiting int) int) {
		m.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
			func() float64 { return float64(value(t.count())) }))
	}
	gauge("flotilla_shard_running_long_reads", "Reads of many keys that have a turn on this node.",
		func(running, _ int) int { return running })
	gauge("flotilla_shard_waiting_long_reads", "Reads of many keys that wait for a turn.",
		func(_, waiting int) int { return waiting })
}

// forget takes a shard's series off, when its replica is dropped.
func (m *metrics) forget(shard ShardID, shown []prometheus.Collector) {
	for _, c := range shown {
		m.reg.Unregister(c)
	}
	label := strconv.FormatUint(uint64(shard), 10)
	m.leader.DeleteLabelValues(label)
	for _, c := range []*prometheus.CounterVec{
		m.entries, m.commands, m.refused, m.failed, m.readRounds, m.snapshots, m.expiredLeases,
	} {
		c.DeleteLabelValues(label)
	}
}
