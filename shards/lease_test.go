package shards_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

func (n *node) propose(ns uint64, c *internalv1.Command) {
	n.t.Helper()
	c.NamespaceId, c.Epoch = ns, 1
	_, err := n.host.Propose(n.t.Context(), dataShard, "tenant", c)
	require.NoError(n.t, err)
}

func (n *node) grant(ns uint64, id, ttlSeconds int64) {
	n.t.Helper()
	n.propose(ns, &internalv1.Command{Operation: &internalv1.Command_GrantLease{GrantLease: &internalv1.GrantLease{
		Request:   &flotillav1.GrantLeaseRequest{Id: id, Ttl: &durationpb.Duration{Seconds: ttlSeconds}},
		LeasesMax: 10,
	}}})
}

func (n *node) putOn(ns uint64, lease int64, key string) {
	n.t.Helper()
	c := putCommand(ns, key, "v")
	c.GetPut().Lease = lease
	n.propose(ns, c)
}

// remaining is how long a lease still lasts; ok is false if there is none.
func (n *node) remaining(ns uint64, id int64) (d time.Duration, ok bool) {
	n.t.Helper()
	d, err := n.lookRemaining(ns, id)
	if err != nil {
		require.ErrorIs(n.t, err, mvcc.ErrLeaseNotFound)
	}
	return d, err == nil
}

// lookRemaining is remaining for those that ask again.
func (n *node) lookRemaining(ns uint64, id int64) (d time.Duration, err error) {
	err = n.host.Read(n.t.Context(), dataShard, shards.Linearizable, func(v *shards.View) error {
		lease, err := v.Lease(tenancy.NamespaceID(ns), id)
		d = time.Duration(lease.RemainingMS(v.ClockMS())) * time.Millisecond
		return err
	})
	return d, err
}

// awaitGone waits until a key does not exist any more.
func (n *node) awaitGone(ns uint64, key string) {
	n.t.Helper()
	require.Eventually(n.t, func() bool {
		kv, err := n.look(ns, key)
		return err == nil && kv == nil
	}, waitMax, time.Millisecond)
}

func TestHostEndsLeasesInTime(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{})
	asked := time.Now()
	n.grant(1, 7, 1)
	granted := time.Now()
	n.putOn(1, 7, "k")
	n.grant(1, 8, 3600)
	n.awaitGone(1, "k")
	require.Greater(t, time.Since(granted), time.Second, "not before its TTL")
	t.Logf("ended %v after its TTL", time.Since(asked)-time.Second)
	_, ok := n.remaining(1, 7)
	require.False(t, ok)
	left, ok := n.remaining(1, 8)
	require.True(t, ok)
	require.InDelta(t, time.Hour, left, float64(time.Minute))
	require.LessOrEqual(t, left, time.Hour)
}

// A restart prolongs a lease by the time in which no node ran, and never
// shortens it; it neither forgets it nor makes it young again.
func TestLeaseGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{})
	n.grant(1, 7, 1000)
	n.grant(1, 8, 2)
	granted := time.Now()
	n.putOn(1, 8, "k")
	require.Eventually(t, func() bool {
		left, err := n.lookRemaining(1, 7)
		return err == nil && left < 999*time.Second
	}, waitMax, 10*time.Millisecond)
	before, _ := n.remaining(1, 7)
	n.stop()
	n.start()
	after, ok := n.remaining(1, 7)
	require.True(t, ok)
	require.LessOrEqual(t, after, before, "a stop notes how late it was")
	require.Less(t, before-after, 10*time.Second, "the time in which no node ran is not counted")
	require.NotNil(t, n.get(1, "k"))
	n.awaitGone(1, "k")
	require.Greater(t, time.Since(granted), 2*time.Second)
}

// On a full disk leases are renewed and ended as ever: otherwise all of them
// would end, or none.
func TestLeasesLiveOnAFullDisk(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{})
	n.grant(1, 7, 1)
	n.putOn(1, 7, "k")
	n.host.SetReadOnly(true)
	n.propose(1, &internalv1.Command{Operation: &internalv1.Command_KeepAlive{
		KeepAlive: &flotillav1.KeepAliveRequest{Ids: []int64{7}},
	}})
	n.awaitGone(1, "k")
}

func TestLeasesAreListedByID(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{})
	for _, id := range []int64{300, 5, 1 << 62, 70} {
		n.grant(1, id, 1000)
	}
	n.grant(2, 6, 1000)
	n.putOn(1, 5, "b")
	n.putOn(1, 5, "a")
	require.NoError(t, n.host.Read(t.Context(), dataShard, shards.Linearizable, func(v *shards.View) error {
		ids, more, err := v.Leases(1, 0, 3)
		require.NoError(t, err)
		require.Equal(t, []int64{5, 70, 300}, ids)
		require.True(t, more)
		ids, more, err = v.Leases(1, 300, 3)
		require.NoError(t, err)
		require.Equal(t, []int64{1 << 62}, ids)
		require.False(t, more)
		keys, err := v.LeaseKeys(1, 5, 100)
		require.NoError(t, err)
		require.Equal(t, [][]byte{[]byte("a"), []byte("b")}, keys)
		var large *mvcc.TooLargeError
		_, err = v.LeaseKeys(1, 5, 1)
		require.ErrorAs(t, err, &large)
		return nil
	}))
}
