package fair

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestFits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		held, more, used int
		want             bool
	}{
		{0, 500, 0, true},   // half of what is free
		{0, 501, 0, false},  //
		{0, 1, 999, true},   // the last of it
		{0, 1, 1000, false}, //
		{0, 1, 2000, false}, // the platform may have taken it
		{100, 150, 100, true},
		{100, 151, 100, false}, // tenantMax
		{100, 16, 300, true},   // Share(684) is 218
		{100, 200, 300, false},
		{100, 1, 999, false},
	} {
		require.Equal(t, test.want, Fits(test.held, test.more, test.used, 250, 1000), "%+v", test)
	}
}

// Whatever tenants take and give back, in whatever order, a room holds to its bounds, a
// loud one has its quarter when it is alone, and a quiet one and the platform are let in.
func TestRoomProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const most, largest, loud = 1 << 20, 1000, 100
		r := NewRoom(most, -1)
		held := map[int][]int{}
		take := func(tenant, n int) bool {
			if !r.Fits(tenant, n) {
				return false
			}
			r.Take(tenant, n)
			held[tenant] = append(held[tenant], n)
			return true
		}
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				tenant, n := rapid.IntRange(-1, loud).Draw(t, "tenant"), rapid.IntRange(1, largest).Draw(t, "size")
				for range rapid.IntRange(1, 2000).Draw(t, "times") {
					take(tenant, n)
				}
			},
			"give back": func(t *rapid.T) {
				tenant := rapid.IntRange(-1, loud).Draw(t, "tenant")
				for range rapid.IntRange(0, len(held[tenant])).Draw(t, "times") {
					r.GiveBack(tenant, held[tenant][0])
					held[tenant] = held[tenant][1:]
				}
			},
			"": func(t *rapid.T) {
				used := 0
				for tenant, sizes := range held {
					sum := 0
					for _, n := range sizes {
						sum += n
					}
					used += sum
					require.LessOrEqual(t, sum, most/4)
					require.Equal(t, sum, r.held[tenant])
				}
				require.Equal(t, used, r.Used())
				least := int(math.Cbrt(1/float64(3*(loud+2)+1))*most) - most/4 // the platform has its part
				require.GreaterOrEqual(t, most-used, max(0, least))
				require.True(t, r.Fits(loud+1, 1))
				require.True(t, len(held[-1]) > 0 || r.Fits(-1, largest))
			},
		})
		for tenant, sizes := range held {
			for _, n := range sizes {
				r.GiveBack(tenant, n)
			}
		}
		require.Zero(t, r.Used())
		require.Empty(t, r.held, "who holds nothing costs nothing")
		require.True(t, r.Fits(0, 2*most), "what is alone is let in whatever its size")
		for take(0, 1<<10) {
		}
		require.Equal(t, most/4, r.Used())
	})
}
