package fair

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

type item struct {
	tenant string
	seq    int
}

const platform = "platform"

func push(t *testing.T, q *Queue[string, item], tenant string, n, cost int) {
	t.Helper()
	for i := range n {
		require.NoError(t, q.Push(tenant, 0, item{tenant, i}, cost))
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
	q := New[string, item](Config{Quantum: 1000}, platform)
	push(t, q, "flood", 10_000, 100)
	q.Take(nil, 50, 1<<20)
	push(t, q, "quiet", 1, 100)
	got := q.Take(nil, 20, 1<<20)
	require.Equal(t, 1, count(got)["quiet"], "the flood may take at most one quantum before the quiet tenant's turn")
}

func TestBackloggedTenantsShareByCostNotByItems(t *testing.T) {
	t.Parallel()
	q := New[string, item](Config{Quantum: 1000}, platform)
	push(t, q, "small", 5000, 10)
	push(t, q, "large", 5000, 1000)
	by := count(q.Take(nil, 1<<20, 20_000))
	require.InDelta(t, by["small"]*10, by["large"]*1000, 2000)
}

func TestBoundsRefuseAndLeaveTheQueueAsItWas(t *testing.T) {
	t.Parallel()
	q := New[string, item](Config{TenantItemsMax: 2, ItemsMax: 10, TenantCostMax: 100, CostMax: 1000}, platform)
	push(t, q, "a", 2, 10)
	require.ErrorIs(t, q.Push("a", 0, item{}, 10), ErrTenantFull)
	require.ErrorIs(t, q.Push("b", 0, item{}, 491), ErrQueueFull, "it is more than half of what is free")
	push(t, q, "b", 1, 490)
	require.ErrorIs(t, q.Push("b", 0, item{}, 10), ErrTenantFull)
	for i := range 7 {
		push(t, q, fmt.Sprint(i), 1, 10)
	}
	require.ErrorIs(t, q.Push("c", 0, item{}, 10), ErrQueueFull)
	require.Len(t, q.Take(nil, 20, 1000), 10)
	require.NoError(t, q.Push("c", 0, item{}, 5000), "a lone item is taken whatever its cost")
	require.ErrorIs(t, q.Push("c", 0, item{}, 1), ErrTenantFull)
	require.ErrorIs(t, q.Push("d", 0, item{}, 1), ErrQueueFull)
}

func TestAnItemLargerThanTheQuantumGetsItsTurn(t *testing.T) {
	t.Parallel()
	q := New[string, item](Config{Quantum: 10}, platform)
	push(t, q, "large", 1, 1000)
	push(t, q, "small", 500, 10)
	got := q.Take(nil, 1000, 1<<20)
	require.Equal(t, 1, count(got)["large"])
	require.Len(t, got, 501)
}

func TestBackloggedTenantsShareByTheirWeights(t *testing.T) {
	t.Parallel()
	q := New[string, item](Config{Quantum: 1000}, platform)
	for i := range 8000 {
		require.NoError(t, q.Push("one", 1, item{"one", i}, 100))
		require.NoError(t, q.Push("three", 3, item{"three", i}, 100))
	}
	by := count(q.Take(nil, 4000, 1<<30))
	require.InDelta(t, 1000, by["one"], 40)
	require.InDelta(t, 3000, by["three"], 40)

	require.NoError(t, q.Push("three", 0, item{}, 100))
	require.InDelta(t, 3000, count(q.Take(nil, 4000, 1<<30))["three"], 40, "0 leaves it as it is")
	require.NoError(t, q.Push("three", 1, item{}, 100))
	require.InDelta(t, 1000, count(q.Take(nil, 2000, 1<<30))["three"], 40, "it changes at once")
}

func TestWeightIsBoundedAndForgotten(t *testing.T) {
	t.Parallel()
	q := New[string, item](Config{Quantum: 10}, platform)
	require.NoError(t, q.Push("heavy", 1<<40, item{"heavy", 0}, 10))
	push(t, q, "heavy", 5000, 10)
	push(t, q, "light", 5000, 10)
	by := count(q.Take(nil, 3*(WeightMax+1), 1<<20))
	require.Equal(t, map[string]int{"heavy": 3 * WeightMax, "light": 3}, by)
	q.Take(nil, 1<<20, 1<<20)
	push(t, q, "heavy", 100, 10)
	push(t, q, "light", 100, 10)
	require.Equal(t, 50, count(q.Take(nil, 100, 1<<20))["heavy"], "a line that comes anew has none")
}

// F2 by its words, at any moment and for any costs: what tenants took that always had
// more, each divided by its weight, is the same but for one item and one quantum.
func TestSharesAreAsWeights(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const costMax = 300
		quantum := rapid.IntRange(1, 400).Draw(t, "quantum")
		q := New[string, int](Config{Quantum: quantum}, platform)
		weights := map[string]int{}
		for _, tenant := range []string{"a", "b", "c"} {
			weights[tenant] = rapid.IntRange(1, 9).Draw(t, "weight")
			for range 400 {
				cost := rapid.IntRange(1, costMax).Draw(t, "cost")
				item := cost*4 + int(tenant[0]-'a') // an item is its cost and whose it is
				require.NoError(t, q.Push(tenant, weights[tenant], item, cost))
			}
		}
		taken, left := map[string]int{}, map[string]int{"a": 400, "b": 400, "c": 400}
		for {
			for _, it := range q.Take(nil, rapid.IntRange(1, 20).Draw(t, "items"), 1<<20) {
				tenant := string(rune('a' + it%4))
				taken[tenant] += it / 4
				left[tenant]--
			}
			if min(left["a"], left["b"], left["c"]) < 20 {
				return
			}
			for tenant, weight := range weights {
				for other, otherWeight := range weights {
					a, b := float64(taken[tenant])/float64(weight), float64(taken[other])/float64(otherWeight)
					require.LessOrEqual(t, a-b, float64(quantum+costMax), "%s %d, %s %d", tenant, weight, other, otherWeight)
				}
			}
		}
	})
}

// Against the plain statement of the promise: nothing is lost or invented,
// each tenant's items come in order, and no call takes more than it may.
func TestQueueProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := New[string, item](Config{Quantum: rapid.IntRange(1, 200).Draw(t, "quantum"), TenantItemsMax: 50, ItemsMax: 120}, platform)
		waiting := map[string][]int{}
		total, seq := 0, 0
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				tenant := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "tenant")
				seq++
				err := q.Push(tenant, rapid.IntRange(0, 3).Draw(t, "weight"), item{tenant, seq}, rapid.IntRange(1, 300).Draw(t, "cost"))
				free := float64(120-total-1) / 120
				switch held := len(waiting[tenant]); {
				case held == 0 && free < 0:
					require.ErrorIs(t, err, ErrQueueFull)
				case held > 0 && float64(held+1) > min(50, 120*math.Pow(max(free, 0), 4)):
					require.ErrorIs(t, err, ErrTenantFull)
				default:
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
	q := New[int, *item](Config{}, -1)
	it := &item{}
	dst := make([]*item, 0, 64)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_ = q.Push(i%8, 1, it, 300)
		if i%64 == 63 {
			dst = q.Take(dst[:0], 64, 1<<20)
		}
	}
}
