package fair

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestALineAsideHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	q := New[string, item](Config{}, platform)
	push(t, q, "stuck", 100, 10)
	push(t, q, "free", 3, 10)
	notStuck := func(it item) bool { return it.tenant != "stuck" }
	require.Len(t, q.TakeIf(nil, 1000, 1<<20, notStuck), 3)
	require.False(t, q.Ready())
	require.Empty(t, q.Take(nil, 1000, 1<<20))
	require.Equal(t, 100, q.Len())
	push(t, q, "stuck", 1, 10)
	require.False(t, q.Ready(), "what joins it waits with it")
	push(t, q, "free", 1, 10)
	require.True(t, q.Ready())
	q.Resume("nobody")
	q.Resume("free")
	q.Resume("stuck")
	require.Len(t, q.Take(nil, 1000, 1<<20), 102)
	require.False(t, q.ResumeFirst())
	require.Zero(t, q.Len())
}

// Lines may go aside and come back at any time: each tenant's items come once and in
// their order, only those that may, and a line is aside just when its next item may not
// have gone.
func TestAsideProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tenants := []string{"a", "b", "c", "d"}
		q := New[string, item](Config{Quantum: rapid.IntRange(1, 200).Draw(t, "quantum")}, platform)
		waiting, barred := map[string][]int{}, map[string]bool{}
		aside := []string{}
		seq := 0
		resumed := func(tenant string) {
			for i, other := range aside {
				if other == tenant {
					aside = append(aside[:i:i], aside[i+1:]...)
					return
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				tenant := rapid.SampledFrom(tenants).Draw(t, "tenant")
				seq++
				require.NoError(t, q.Push(tenant, 0, item{tenant, seq}, rapid.IntRange(1, 300).Draw(t, "cost")))
				waiting[tenant] = append(waiting[tenant], seq)
			},
			"bar": func(t *rapid.T) {
				tenant := rapid.SampledFrom(tenants).Draw(t, "tenant")
				barred[tenant] = !barred[tenant]
			},
			"take": func(t *rapid.T) {
				for _, it := range q.TakeIf(nil, rapid.IntRange(1, 40).Draw(t, "items"), 1<<20, func(it item) bool {
					if barred[it.tenant] {
						require.NotContains(t, aside, it.tenant)
						aside = append(aside, it.tenant)
					}
					return !barred[it.tenant]
				}) {
					require.Equal(t, waiting[it.tenant][0], it.seq)
					waiting[it.tenant] = waiting[it.tenant][1:]
				}
			},
			"resume": func(t *rapid.T) {
				tenant := rapid.SampledFrom(tenants).Draw(t, "tenant")
				q.Resume(tenant)
				resumed(tenant)
			},
			"resume the first": func(t *rapid.T) {
				require.Equal(t, len(aside) > 0, q.ResumeFirst())
				if len(aside) > 0 {
					resumed(aside[0])
				}
			},
			"": func(t *rapid.T) {
				ready := 0
				for tenant, items := range waiting {
					line := q.lines[tenant]
					require.Equal(t, len(items) > 0, line != nil, "F1")
					if line != nil && !line.aside {
						ready++
					}
				}
				require.Equal(t, ready > 0, q.Ready())
			},
		})
		for q.ResumeFirst() {
		}
		total := 0
		for _, items := range waiting {
			total += len(items)
		}
		require.Len(t, q.Take(nil, 1<<20, 1<<30), total)
	})
}
