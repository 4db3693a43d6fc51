package machine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// endMS is when a lease of a TTL in seconds ends that is granted or renewed at
// a moment in milliseconds.
func endMS(atMS, ttlSeconds uint64) uint64 { return atMS + ttlSeconds*1000 + 250 }

func grant(ns uint64, id int64, ttl time.Duration) *internalv1.Command {
	return &internalv1.Command{NamespaceId: ns, Epoch: 1, Operation: &internalv1.Command_GrantLease{
		GrantLease: &internalv1.GrantLease{
			Request: &flotillav1.GrantLeaseRequest{Id: id, Ttl: durationpb.New(ttl)}, LeasesMax: 1000,
		},
	}}
}

func keepAlive(ns uint64, ids ...int64) *internalv1.Command {
	return &internalv1.Command{NamespaceId: ns, Epoch: 1, Operation: &internalv1.Command_KeepAlive{
		KeepAlive: &flotillav1.KeepAliveRequest{Ids: ids},
	}}
}

func revoke(ns uint64, id int64) *internalv1.Command {
	return &internalv1.Command{NamespaceId: ns, Epoch: 1, Operation: &internalv1.Command_RevokeLease{
		RevokeLease: &flotillav1.RevokeLeaseRequest{Id: id},
	}}
}

func putOn(ns uint64, lease int64, key string) *internalv1.Command {
	c := put(ns, 1, key, "v", "")
	c.GetPut().Lease = lease
	return c
}

// expire ends what is due at a moment, and says what there was.
func (s *shard) expire(atMS uint64, leasesMax, keysMax uint32) *internalv1.ExpireLeasesResponse {
	s.t.Helper()
	results := s.entry(atMS, &internalv1.Command{Operation: &internalv1.Command_ExpireLeases{
		ExpireLeases: &internalv1.ExpireLeases{LeasesMax: leasesMax, KeysMax: keysMax},
	}})
	require.NoError(s.t, results[0].Err)
	response, ok := results[0].Response.(*internalv1.ExpireLeasesResponse)
	require.True(s.t, ok)
	return response
}

// keys are a namespace's keys as a string, and its revision.
func (s *shard) keys(ns tenancy.NamespaceID) string {
	s.t.Helper()
	view := s.rows.NewView()
	defer func() { require.NoError(s.t, view.Close()) }()
	state := mvcc.NewState()
	row, ok, err := view.Row(machine.TableState, ns, nil)
	require.NoError(s.t, err)
	if ok {
		state, err = machine.DecodeNamespaceState(row)
		require.NoError(s.t, err)
	}
	response, err := mvcc.Range(view.Namespace(ns), &state, &flotillav1.RangeRequest{}, mvcc.ReadLimits{})
	require.NoError(s.t, err)
	text := fmt.Sprint("revision ", state.Revision, ":")
	for _, kv := range response.GetKvs() {
		text += fmt.Sprintf(" %s@%d", kv.GetKey(), kv.GetLease())
	}
	return text
}

// attached counts the rows of keys that are attached to leases.
func (s *shard) attached(ns tenancy.NamespaceID) (n int) {
	s.t.Helper()
	view := s.rows.NewView()
	defer func() { require.NoError(s.t, view.Close()) }()
	it := view.Rows(machine.TableLeaseKeys, ns, nil, nil)
	for it.Next() {
		n++
	}
	require.NoError(s.t, it.Close())
	return n
}

func ttls(t *testing.T, r machine.Result) (seconds []int64) {
	t.Helper()
	require.NoError(t, r.Err)
	response, ok := r.Response.(*flotillav1.KeepAliveResponse)
	require.True(t, ok)
	for _, l := range response.GetLeases() {
		seconds = append(seconds, l.GetTtl().GetSeconds())
	}
	return seconds
}

func TestLeaseTakesItsKeysAlongInOneRevision(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	s.entry(0, grant(1, 7, 10*time.Second), putOn(1, 7, "a"), putOn(1, 7, "b"), put(1, 1, "c", "v", ""))
	require.Equal(t, "revision 4: a@7 b@7 c@0", s.keys(1))
	require.Zero(t, s.expire(endMS(0, 10)-1, 10, 10).GetLeases(), "not a millisecond early")

	ended := s.expire(endMS(0, 10), 10, 10)
	require.EqualValues(t, 1, ended.GetLeases())
	require.EqualValues(t, 2, ended.GetKeys())
	require.False(t, ended.GetMore())
	require.Equal(t, "revision 5: c@0", s.keys(1))
	require.Zero(t, s.attached(1))
	require.ErrorIs(t, s.entry(endMS(0, 10), putOn(1, 7, "d"))[0].Err, mvcc.ErrLeaseNotFound)
}

func TestRenewedLeaseLastsItsTTLFromThen(t *testing.T) {
	t.Parallel()
	for _, restarts := range []bool{false, true} {
		s := newShard(t)
		s.entry(0, grant(1, 7, 10*time.Second), grant(1, 8, 5*time.Second))
		require.Equal(t, []int64{10, 0, 5}, ttls(t, s.entry(4000, keepAlive(1, 7, 9, 8))[0]))
		if restarts {
			s.load()
		}
		require.Zero(t, s.expire(endMS(4000, 5)-1, 10, 10).GetLeases())
		require.EqualValues(t, 1, s.expire(endMS(4000, 10)-1, 10, 10).GetLeases(), "the shorter one")
		require.EqualValues(t, 1, s.expire(endMS(4000, 10), 10, 10).GetLeases())
		require.Equal(t, []int64{0}, ttls(t, s.entry(endMS(4000, 10), keepAlive(1, 7))[0]))
	}
}

// The wall clock of leaders says when something happened, and never how long it
// lasted.
func TestLeaseDoesNotEndByTheWallClock(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	s.entry(0, grant(1, 7, time.Second))
	entry := machine.AppendHeader(nil, machine.Header{TimeMS: 1 << 40, ClockMS: 5})
	_, err := s.try(entry)
	require.NoError(t, err)
	require.Zero(t, s.expire(10, 10, 10).GetLeases())
	require.EqualValues(t, 1, s.expire(endMS(0, 1), 10, 10).GetLeases())
}

func TestRevokedLeaseTakesItsKeysAlong(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	s.entry(0, grant(1, 7, 10*time.Second), putOn(1, 7, "a"), putOn(1, 7, "b"))
	results := s.entry(1, revoke(1, 7), revoke(1, 7))
	response, ok := results[0].Response.(*flotillav1.RevokeLeaseResponse)
	require.True(t, ok)
	require.EqualValues(t, 4, response.GetRevision())
	require.EqualValues(t, 2, response.GetDeleted())
	require.ErrorIs(t, results[1].Err, mvcc.ErrLeaseNotFound)
	require.Equal(t, "revision 4:", s.keys(1))
	require.Zero(t, s.expire(endMS(0, 10), 10, 10).GetLeases())

	s.entry(20_000, grant(1, 7, 10*time.Second))
	require.Zero(t, s.expire(endMS(20_000, 10)-1, 10, 10).GetLeases(), "the same id again, with its own deadline")
	require.EqualValues(t, 1, s.expire(endMS(20_000, 10), 10, 10).GetLeases())
}

func TestKeyIsOnTheLeaseOfItsLastWrite(t *testing.T) {
	t.Parallel()
	ignoring := put(1, 1, "k", "w", "")
	ignoring.GetPut().IgnoreLease = true
	moveInTxn := &internalv1.Command{NamespaceId: 1, Epoch: 1, Operation: &internalv1.Command_Txn{Txn: &flotillav1.TxnRequest{
		Compare: []*flotillav1.Compare{{
			Subject: &flotillav1.Compare_Key{Key: []byte("k")}, Target: &flotillav1.Compare_Lease{Lease: 7},
		}},
		Success: []*flotillav1.TxnOperation{{Operation: &flotillav1.TxnOperation_Put{
			Put: &flotillav1.PutRequest{Key: []byte("k"), Lease: 8},
		}}},
	}}}
	deletion := &internalv1.Command{NamespaceId: 1, Epoch: 1, Operation: &internalv1.Command_Delete{Delete: &flotillav1.DeleteRequest{
		Target: &flotillav1.DeleteRequest_Key{Key: []byte("k")},
	}}}
	for name, c := range map[string]struct {
		write      *internalv1.Command
		by7, after string
	}{
		"the same lease again": {putOn(1, 7, "k"), "revision 4:", "revision 4:"},
		"ignore_lease":         {ignoring, "revision 4:", "revision 4:"},
		"another lease":        {putOn(1, 8, "k"), "revision 3: k@8", "revision 4:"},
		"in a transaction":     {moveInTxn, "revision 3: k@8", "revision 4:"},
		"no lease":             {put(1, 1, "k", "w", ""), "revision 3: k@0", "revision 3: k@0"},
		"deleted":              {deletion, "revision 3:", "revision 3:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShard(t)
			s.entry(0, grant(1, 7, time.Second), grant(1, 8, 2*time.Second), putOn(1, 7, "k"))
			require.NoError(t, s.entry(1, c.write)[0].Err)
			s.load()
			s.expire(endMS(0, 1), 10, 10)
			require.Equal(t, c.by7, s.keys(1))
			s.expire(endMS(0, 2), 10, 10)
			require.Equal(t, c.after, s.keys(1))
			require.Zero(t, s.attached(1))
		})
	}
}

func TestLeaseRefusals(t *testing.T) {
	t.Parallel()
	var invalid *mvcc.InvalidError
	ttl := func(d *durationpb.Duration) *internalv1.Command {
		c := grant(1, 5, 0)
		c.GetGrantLease().GetRequest().Ttl = d
		return c
	}
	s := newShard(t)
	s.entry(0, grant(1, 7, time.Second))
	require.ErrorIs(t, s.entry(1, grant(1, 7, time.Hour))[0].Err, mvcc.ErrLeaseExists)
	require.NoError(t, s.entry(1, grant(2, 7, time.Hour))[0].Err, "another namespace's ids are its own")
	for name, c := range map[string]*internalv1.Command{
		"no TTL": ttl(nil), "TTL 0": grant(1, 5, 0), "negative TTL": grant(1, 5, -time.Second),
		"TTL too large": ttl(&durationpb.Duration{Seconds: 9_000_000_001}),
		"just too much": ttl(&durationpb.Duration{Seconds: 9_000_000_000, Nanos: 1}),
		"malformed TTL": ttl(&durationpb.Duration{Seconds: 5, Nanos: -1}),
		"no id":         grant(1, 0, time.Second), "negative id": grant(1, -1, time.Second),
		"revoke without id": revoke(1, 0), "keep nothing alive": keepAlive(1),
	} {
		require.ErrorAs(t, s.entry(1, c)[0].Err, &invalid, name)
	}
	var large *mvcc.TooLargeError
	require.ErrorAs(t, s.entry(1, keepAlive(1, make([]int64, machine.KeepAliveIDsMax+1)...))[0].Err, &large)
	require.ErrorIs(t, s.entry(1, putOn(1, 99, "k"))[0].Err, mvcc.ErrLeaseNotFound)
	require.ErrorIs(t, s.entry(1, revoke(1, 99))[0].Err, mvcc.ErrLeaseNotFound)

	most := ttl(&durationpb.Duration{Seconds: 9_000_000_000})
	require.NoError(t, s.entry(1, most)[0].Err)
	require.Equal(t, []int64{9_000_000_000}, ttls(t, s.entry(1, keepAlive(1, 5))[0]))
	s.entry(1, grant(1, 6, 1500*time.Millisecond))
	require.Equal(t, []int64{2}, ttls(t, s.entry(1, keepAlive(1, 6))[0]), "parts of a second are rounded up")
}

func TestLeasesOfANamespaceAreBounded(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	bounded := func(id int64) *internalv1.Command {
		c := grant(1, id, time.Second)
		c.GetGrantLease().LeasesMax = 2
		return c
	}
	s.entry(0, bounded(1), bounded(2))
	s.load()
	var quota *tenancy.QuotaError
	require.ErrorAs(t, s.entry(0, bounded(3))[0].Err, &quota)
	require.Equal(t, "leases_max", quota.Limit)
	s.entry(0, revoke(1, 1))
	require.NoError(t, s.entry(0, bounded(3))[0].Err)
}

func TestRetriedGrantIsOneLease(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	first, again := grant(1, 7, time.Second), grant(1, 8, time.Second)
	first.GetGrantLease().GetRequest().RequestId = "id"
	again.GetGrantLease().GetRequest().RequestId = "id" // the gateway chose another id for it
	s.entry(0, first)
	response, ok := s.entry(1, again)[0].Response.(*flotillav1.GrantLeaseResponse)
	require.True(t, ok)
	require.EqualValues(t, 7, response.GetId())
	require.Equal(t, []int64{1, 0}, ttls(t, s.entry(1, keepAlive(1, 7, 8))[0]))
}

// One command does a bounded part of the work, in the order of the deadlines; a
// replica that has just loaded its rows does the same part as one that did not.
func TestEndOfManyLeasesIsBounded(t *testing.T) {
	t.Parallel()
	for _, restarts := range []bool{false, true} {
		s := newShard(t)
		s.entry(0, grant(2, 1, 3*time.Second), grant(1, 2, 3*time.Second), grant(1, 1, 2*time.Second), grant(1, 3, 1*time.Second))
		s.entry(0, putOn(1, 1, "a"), putOn(1, 1, "b"), putOn(1, 1, "c"), putOn(1, 2, "d"), putOn(2, 1, "e"))
		s.entry(2000, keepAlive(1, 3)) // the first to be granted ends with the last
		if restarts {
			s.load()
		}
		late := endMS(2000, 3)
		require.Equal(t, "leases:1 keys:3 more:true", fmt.Sprint(short(s.expire(late, 10, 2))), "more keys than the bound: alone")
		require.Equal(t, "leases:1 keys:1 more:true", fmt.Sprint(short(s.expire(late, 1, 2))))
		require.Equal(t, "revision 7:", s.keys(1), "of equal deadlines the least namespace and id")
		require.Equal(t, "leases:2 keys:1 more:false", fmt.Sprint(short(s.expire(late, 10, 2))))
		require.Equal(t, "revision 3:", s.keys(2))
	}
}

func short(r *internalv1.ExpireLeasesResponse) string {
	return fmt.Sprintf("leases:%d keys:%d more:%t", r.GetLeases(), r.GetKeys(), r.GetMore())
}

// A lease that is revoked leaves its place in the queue behind. Another one of
// the same id and deadline must not end twice for it.
func TestLeaseThatTakesTheIDOfARevokedOneEndsOnce(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	s.entry(0, grant(1, 7, time.Second), revoke(1, 7), grant(1, 7, time.Second), grant(1, 8, time.Hour))
	require.Equal(t, "leases:1 keys:0 more:false", short(s.expire(endMS(0, 1), 10, 10)))
	require.Equal(t, []int64{0, 3600}, ttls(t, s.entry(2000, keepAlive(1, 7, 8))[0]))
}

// Otherwise the host would propose to end leases ten times a second.
func TestRenewedLeasesAreNotTakenForOnesThatEnd(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	const leases = 100
	var grants []*internalv1.Command
	var ids []int64
	for id := range int64(leases) {
		grants, ids = append(grants, grant(1, id+1, 10*time.Second)), append(ids, id+1)
	}
	s.entry(0, grants...)
	s.entry(9500, keepAlive(1, ids...))
	next, ok := s.machine.NextExpiry()
	require.True(t, ok)
	require.Equal(t, endMS(9500, 10), next)
}

// The place that a revoked lease left behind must not bring another one that
// took its room to the front: a replica that has loaded its rows knows of no
// such place (R4).
func TestRevokedLeaseDoesNotChangeTheOrderOfTheOthers(t *testing.T) {
	t.Parallel()
	for _, restarts := range []bool{false, true} {
		s := newShard(t)
		s.entry(0, grant(1, 5, time.Second), revoke(1, 5), grant(1, 9, time.Second), grant(1, 7, time.Second))
		if restarts {
			s.load()
		}
		s.expire(endMS(0, 1), 1, 10)
		require.Equal(t, []int64{0, 0, 1}, ttls(t, s.entry(endMS(0, 1), keepAlive(1, 5, 7, 9))[0]))
	}
}

func TestNextExpiryIsTheFirstThatMayBe(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	_, ok := s.machine.NextExpiry()
	require.False(t, ok)
	s.entry(0, grant(1, 7, 10*time.Second), grant(1, 8, time.Hour))
	next, ok := s.machine.NextExpiry()
	require.True(t, ok)
	require.Equal(t, endMS(0, 10), next)
	s.entry(4000, keepAlive(1, 7))
	next, _ = s.machine.NextExpiry()
	require.Equal(t, endMS(4000, 10), next)
	s.entry(5000, revoke(1, 7))
	next, _ = s.machine.NextExpiry()
	require.Equal(t, endMS(0, 3600), next)
	s.entry(6000, revoke(1, 8))
	_, ok = s.machine.NextExpiry()
	require.False(t, ok)
}
