package unread

import (
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/flotillakv/flotilla/tenancy"
)

func TestALoneTenantHasAQuarter(t *testing.T) {
	t.Parallel()
	a := New(BytesMax)
	part := a.Open("t")
	require.False(t, part.Full())
	for part.Take(1 << 20) {
	}
	require.Equal(t, BytesMax/4, a.Bytes())
	require.Equal(t, BytesMax/4, part.Max())
	require.True(t, part.Full())
	part.GiveBack(1 << 20)
	require.False(t, part.Full())
	require.True(t, part.Take(1<<20))
}

// Tenants whose callers take nothing leave room for others, however many they are, and
// never have more than the bound together.
func TestSlowTenantsLeaveRoom(t *testing.T) {
	t.Parallel()
	for _, tenants := range []int{1, 4, 16, 100, 1000} {
		a := New(BytesMax)
		for i := range tenants {
			part := a.Open(tenancy.TenantID(fmt.Sprint(i)))
			for part.Take(100 << 10) {
			}
		}
		left := float64(BytesMax-a.Bytes()) / BytesMax
		small := float64(tenants) / 16384
		require.GreaterOrEqual(t, left, math.Cbrt(1/float64(3*tenants+1))-small, "%d tenants", tenants)
		quiet := a.Open("quiet")
		require.True(t, quiet.Take(1<<20), "%d tenants", tenants)
		require.True(t, quiet.Take(1) || quiet.Full())
	}
}

// As little as it may have anyway a tenant has while there is any room, and then none.
func TestTheBoundIsNeverPassed(t *testing.T) {
	t.Parallel()
	const most = 1 << 20
	a := New(most)
	refused := 0
	for i := range 20_000 {
		if !a.Open(tenancy.TenantID(fmt.Sprint(i))).Take(most / 16384) {
			refused++
		}
	}
	require.Equal(t, most, a.Bytes())
	require.Equal(t, 20_000-16_384, refused)
	require.Zero(t, a.Open("late").Max())
}

// Whatever is taken and given back, on however many parts, the bound holds and the
// sums return to zero.
func TestProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const most = 1 << 20
		a := New(most)
		type use struct {
			part  *Part
			bytes int
		}
		var uses []*use
		t.Repeat(map[string]func(*rapid.T){
			"open": func(t *rapid.T) {
				uses = append(uses, &use{part: a.Open(rapid.SampledFrom([]tenancy.TenantID{"a", "b", "c", "d"}).Draw(t, "tenant"))})
			},
			"take": func(t *rapid.T) {
				if len(uses) > 0 {
					u, n := rapid.SampledFrom(uses).Draw(t, "use"), rapid.IntRange(1, most/3).Draw(t, "bytes")
					if u.part.Take(n) {
						u.bytes += n
					}
				}
			},
			"close": func(t *rapid.T) {
				if len(uses) > 0 {
					i := rapid.IntRange(0, len(uses)-1).Draw(t, "use")
					uses[i].part.GiveBack(uses[i].bytes)
					uses[i].part.Close()
					uses = append(uses[:i], uses[i+1:]...)
				}
			},
			"": func(t *rapid.T) {
				sum, tenants := 0, map[tenancy.TenantID]bool{}
				for _, u := range uses {
					sum += u.bytes
					tenants[u.part.tenant] = true
				}
				require.Equal(t, sum, a.Bytes())
				require.LessOrEqual(t, sum, most)
				require.Len(t, a.byTenant, len(tenants))
			},
		})
	})
}

// Many take at a time, and some far too much. N1 holds at every moment, and who takes
// little is never refused for what others ask for and do not get.
func TestManyAtATime(t *testing.T) {
	t.Parallel()
	const most = 1 << 20
	a := New(most)
	use := func(tenant string, bytes int, fits bool) {
		part := a.Open(tenancy.TenantID(tenant))
		defer part.Close()
		took := part.Take(bytes)
		if took != fits {
			t.Errorf("%s took %d bytes: %v", tenant, bytes, took)
		}
		if now := a.Bytes(); now > most {
			t.Errorf("%d bytes are more than the bound", now)
		}
		if took {
			part.GiveBack(bytes)
		}
	}
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			for range 4000 {
				use(fmt.Sprint("greedy", i%2), most, false)
				use(fmt.Sprint("modest", i%3), most/64, true)
			}
		})
	}
	callers.Wait()
	require.Zero(t, a.Bytes())
	require.Empty(t, a.byTenant)
}
