package watch

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the figures of a node's watches.
type Metrics struct {
	gaps, overflows, pages, events prometheus.Counter
}

// NewMetrics makes and registers them.
func NewMetrics(reg prometheus.Registerer, accounts *Accounts) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string, value func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("flotilla_watch_watches", "Watches that are open on this node.",
		func() float64 { return float64(accounts.Watches()) })
	gauge("flotilla_watch_waiting_bytes", "Events that wait for their watches' callers.",
		func() float64 { return float64(accounts.WaitingBytes()) })
	gauge("flotilla_watch_sending_bytes", "Answers with events that callers are about to take, with the copies made of them.",
		func() float64 { return float64(accounts.SendingBytes()) })
	return &Metrics{
		gaps:      counter("flotilla_watch_gaps_total", "Times that the watches of a namespace were turned to the history, because events were too many or not recorded."),
		overflows: counter("flotilla_watch_overflows_total", "Times that one watch was turned to the history, because too much waited for it."),
		pages:     counter("flotilla_watch_history_pages_total", "Pages of history that were read for watches."),
		events:    counter("flotilla_watch_events_total", "Events handed to watches' callers."),
	}
}
