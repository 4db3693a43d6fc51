package meter_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/tenancy"
)

// BenchmarkAdmit is what an admission costs, look-up included.
func BenchmarkAdmit(b *testing.B) {
	const much = 1_000_000_000
	for name, bench := range map[string]struct {
		limits tenancy.Limits
		refuse bool
	}{
		"unlimited": {},
		"direct":    {limits: tenancy.Limits{RequestsPerSecond: much, BytesPerSecond: much}},
		"refused":   {limits: tenancy.Limits{RequestsPerSecond: 1}, refuse: true},
	} {
		b.Run(name, func(b *testing.B) {
			m := meter.New(meter.Config{NodeID: "a"}, prometheus.NewRegistry())
			p := principal("tenant", bench.limits)
			b.ReportAllocs()
			for b.Loop() {
				a, err := m.Tenant(p)
				if err != nil {
					b.Fatal(err)
				}
				if err := a.Admit(1, 100); err != nil && !bench.refuse {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("leased", func(b *testing.B) {
		m := meter.New(meter.Config{NodeID: "a"}, prometheus.NewRegistry())
		p := principal("tenant", tenancy.Limits{RequestsPerSecond: 1_000_000_000_000, BytesPerSecond: 1_000_000_000_000})
		a, err := m.Tenant(p)
		if err != nil {
			b.Fatal(err)
		}
		meter.Lease(a)
		b.ReportAllocs()
		for b.Loop() {
			a, err := m.Tenant(p)
			if err != nil {
				b.Fatal(err)
			}
			if err := a.Admit(1, 1); err != nil {
				b.Fatal(err)
			}
		}
	})
}
