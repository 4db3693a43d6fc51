package machine

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/mvcc"
)

// Leases that last for ever in effect and are revoked at once would otherwise
// fill the memory with their places.
func TestPlacesOfRevokedLeasesAreBounded(t *testing.T) {
	t.Parallel()
	table := newLeaseTable()
	kept := leaseName{ns: 1, id: 1}
	table.add(kept, Lease{DeadlineMS: 1 << 50})
	for id := range int64(100_000) {
		name := leaseName{ns: 2, id: id}
		table.add(name, Lease{DeadlineMS: 1<<40 + uint64(id)})
		table.remove(name)
		require.LessOrEqual(t, len(table.queue), 2+leasePlacesMin)
	}
	at, ok := table.settle(0)
	for ok && at < 1<<50 { // each call goes a few steps
		at, ok = table.settle(at)
	}
	require.True(t, ok)
	require.EqualValues(t, 1<<50, at)
}

func TestKeysOfALeaseAreBounded(t *testing.T) {
	t.Parallel()
	m := New()
	full, room := leaseName{ns: 1, id: 1}, leaseName{ns: 1, id: 2}
	m.leases.add(full, Lease{Keys: LeaseKeysMax})
	m.leases.add(room, Lease{Keys: LeaseKeysMax - 1})
	require.NoError(t, m.checkAttach(room))
	require.Equal(t, &mvcc.TooLargeError{Limit: "lease_keys_max", Value: LeaseKeysMax + 1, Max: LeaseKeysMax}, m.checkAttach(full))
	require.ErrorIs(t, m.checkAttach(leaseName{ns: 2, id: 1}), mvcc.ErrLeaseNotFound)
}

func TestDamagedRowsOfLeasesAreTold(t *testing.T) {
	t.Parallel()
	good := appendLease(nil, Lease{TTLSeconds: 1000, DeadlineMS: 1 << 40, Keys: 3})
	decoded, err := DecodeLease(good)
	require.NoError(t, err)
	require.Equal(t, Lease{TTLSeconds: 1000, DeadlineMS: 1 << 40, Keys: 3}, decoded)
	for _, bad := range [][]byte{nil, {2, 1, 1, 1}, good[:len(good)-1], append(good, 0)} {
		_, err := DecodeLease(bad)
		require.ErrorIs(t, err, errBadLease)
	}
	_, _, err = DecodeLeaseKey([]byte("short"))
	require.ErrorIs(t, err, errBadLease)
}
