package watch

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tenancy"
)

// As all have more each may have less, and a tenant that comes later finds room.
func TestTenantsShareTheRoom(t *testing.T) {
	t.Parallel()
	const most = 64 << 20
	for _, tenants := range []int{1, 4, 16, 100} {
		accounts := new(Accounts)
		owns := make([]*account, tenants)
		for i := range owns {
			own, err := accounts.open(tenancy.TenantID(fmt.Sprint(i)), 0)
			require.NoError(t, err)
			for own.bytes.Load() <= own.bytes.most(most) { // as a watch does
				own.bytes.Add(100 << 10)
			}
			require.Positive(t, own.bytes.Load())
			owns[i] = own
		}
		if tenants == 1 {
			require.InDelta(t, most, owns[0].bytes.Load(), 200<<10, "a lone tenant has all that it may have")
		}
		require.Less(t, accounts.WaitingBytes(), int64(roomTenants*most))
		late, err := accounts.open("late", 0)
		require.NoError(t, err)
		require.Positive(t, late.bytes.most(most), "%d tenants", tenants)
		for _, own := range owns {
			own.bytes.Add(-own.bytes.Load())
		}
		require.Zero(t, accounts.WaitingBytes())
		require.Equal(t, int64(most), late.bytes.most(most))
	}
}

func TestNoRoomIsLessThanNothing(t *testing.T) {
	t.Parallel()
	accounts := new(Accounts)
	accounts.waiting.Store(roomTenants * 100)
	accounts.sending.Store(roomTenants * 100)
	own, err := accounts.open("t", 0)
	require.NoError(t, err)
	require.Negative(t, own.bytes.most(100), "its watches read the history")
	s := NewStream(StreamConfig{})
	defer s.Close()
	require.False(t, own.sending.full(s, 100), "it waits for nobody else's callers")
	own.sending.add(1, 100)
	require.True(t, own.sending.full(s, 100))
	own.sending.add(-1, 100)
	require.Len(t, s.wake, 1, "it is woken by its own")
	require.False(t, own.sending.full(s, 100))
}
