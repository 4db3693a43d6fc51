package fair

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

type item struct {
	tenant string
	seq    int
}

func push(t *testing.T, q *Queue[string, item], tenant string, n, cost int) {
	t.Helper()
	for i := range n {
		require.NoError(t, q.Push(tenant, item{tenant, i}, cost))
	}
}

func count(items []item) map[string]int {
	by := map[string]int{}
	for _, it := range items {
		by[it.tenant]++
	}
	return by
}

func TestQuietTenantIsServedInTheNextRound(t *testing.T) {
	t.Parallel()
	q := New[string, item](Config{Quantum: 1000})
	push(t, q, "flood", 10_000, 100)
	q.Take(nil, 50, 1<<20)
	push(t, q, "quiet", 1, 100)
	got := q.Take(nil, 20, 1<<20)
	require.Equal(t, 1, count(got)["quiet"], "the flood may take at most one quantum before the quiet tenant's turn")
}

func TestBackloggedTenantsShareByCostNotByItems(t *testing.T) {
	t.Parallel()
	q := New[string, item](Config{Quantum: 1000})
	push(t, q, "small", 5000, 10)
	push(t, q, "large", 5000, 1000)
	by := count(q.Take(nil, 1<<20, 20_000))
	require.InDelta(t, by["small"]*10, by["large"]*1000, 2000)
}

func TestBoundsRefuseAndLeaveTheQueueAsItWas(t *testing.T) {
	t.Parallel()
	q := New[string, item](Config{TenantItemsMax: 2, ItemsMax: 3, TenantCostMax: 100, CostMax: 1000})
	push(t, q, "a", 2, 10)
	require.ErrorIs(t, q.Push("a", item{}, 10), ErrTenantFull)
	require.ErrorIs(t, q.Push("b", item{}, 1000), ErrQueueFull)
	push(t, q, "b", 1, 10)
	require.ErrorIs(t, q.Push("c", item{}, 10), ErrQueueFull)
	require.Len(t, q.Take(nil, 10, 1000), 3)
	require.NoError(t, q.Push("c", item{}, 5000), "a lone item is taken whatever its cost")
	require.ErrorIs(t, q.Push("c", item{}, 1), ErrQueueFull)
}

func TestAnItemLargerThanTheQuantumGetsItsTurn(t *testing.T) {
	t.Parallel()
	q := New[string, item](Config{Quantum: 10})
	push(t, q, "large", 1, 1000)
	push(t, q, "small", 500, 10)
	got := q.Take(nil, 1000, 1<<20)
	require.Equal(t, 1, count(got)["large"])
	require.Len(t, got, 501)
}

// Against the plain statement of the promise: nothing is lost or invented,
// each tenant's items come in order, and no call takes more than it may.
func TestQueueProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := New[string, item](Config{Quantum: rapid.IntRange(1, 200).Draw(t, "quantum"), TenantItemsMax: 50, ItemsMax: 120})
		waiting := map[string][]int{}
		total, seq := 0, 0
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				tenant := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "tenant")
				seq++
				err := q.Push(tenant, item{tenant, seq}, rapid.IntRange(1, 300).Draw(t, "cost"))
				if total >= 120 {
					require.ErrorIs(t, err, ErrQueueFull)
				} else if len(waiting[tenant]) >= 50 {
					require.ErrorIs(t, err, ErrTenantFull)
				} else {
					require.NoError(t, err)
					waiting[tenant] = append(waiting[tenant], seq)
					total++
				}
			},
			"take": func(t *rapid.T) {
				n := rapid.IntRange(1, 40).Draw(t, "items")
				got := q.Take(nil, n, rapid.IntRange(1, 2000).Draw(t, "cost"))
				require.LessOrEqual(t, len(got), n)
				if total > 0 {
					require.NotEmpty(t, got)
				}
				for _, it := range got {
					require.Equal(t, waiting[it.tenant][0], it.seq)
					waiting[it.tenant] = waiting[it.tenant][1:]
				}
				total -= len(got)
			},
			"": func(t *rapid.T) { require.Equal(t, total, q.Len()) },
		})
	})
}

func BenchmarkPushTake(b *testing.B) {
	q := New[int, *item](Config{})
	it := &item{}
	dst := make([]*item, 0, 64)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_ = q.Push(i%8, it, 300)
		if i%64 == 63 {
			dst = q.Take(dst[:0], 64, 1<<20)
		}
	}
}
