package shards_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/fair"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/store"
	"github.com/flotillakv/flotilla/tenancy"
)

const dataShard shards.ShardID = 2

// TestReadThatPanicsKeepsNothing: who recovers from it can go on, and stop.
func TestReadThatPanicsKeepsNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{})
	require.Panics(t, func() {
		_ = n.host.Read(t.Context(), dataShard, shards.Linearizable, func(*shards.View) error { panic("a fault") })
	})
	n.stop() // waits for all that reads
}

// markers are kept in memory: they outlive a restart within the test.
type markers struct {
	mu    sync.Mutex
	known map[string]bool
}

func (m *markers) key(shard shards.ShardID, replica uint64) string {
	return fmt.Sprintf("%d/%d", shard, replica)
}

func (m *markers) HasReplica(shard shards.ShardID, replica uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[m.key(shard, replica)]
}

func (m *markers) MarkReplica(shard shards.ShardID, replica uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known[m.key(shard, replica)] = true
	return nil
}

func (m *markers) UnmarkReplica(shard shards.ShardID, replica uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, m.key(shard, replica))
	return nil
}

// node is a host over directories that outlive it.
type node struct {
	t       *testing.T
	dir     string
	markers *markers
	cfg     shards.Config
	store   *store.Store
	metrics *prometheus.Registry
	host    *shards.Host
}

func newNode(t *testing.T, cfg shards.Config) *node {
	t.Helper()
	cfg.NodeID = "9f1c6d1e-4f0e-4f0a-9a70-9d3a2e0c5b11"
	n := &node{t: t, dir: t.TempDir(), markers: &markers{known: map[string]bool{}}, cfg: cfg}
	n.start()
	t.Cleanup(n.stop)
	return n
}

func (n *node) start() {
	n.t.Helper()
	var err error
	n.store, err = store.Open(store.Config{Dir: n.dir + "/state"})
	require.NoError(n.t, err)
	n.cfg.Dir = n.dir + "/raft"
	n.metrics = prometheus.NewRegistry()
	n.host, err = shards.Start(n.t.Context(), n.cfg, n.store, n.markers, n.metrics, slog.New(slog.DiscardHandler),
		func(err error) { n.t.Errorf("halted: %v", err) })
	require.NoError(n.t, err)
	for _, shard := range []shards.ShardID{shards.SystemShard, dataShard} {
		require.NoError(n.t, n.host.StartReplica(shards.ReplicaSpec{Shard: shard, Replica: 1, First: true}))
	}
	ctx, cancel := context.WithTimeout(n.t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(n.t, n.host.WaitReady(ctx))
}

func (n *node) stop() {
	if n.host == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(n.t.Context()), 20*time.Second)
	defer cancel()
	require.NoError(n.t, n.host.Stop(ctx))
	require.NoError(n.t, n.store.Close())
	n.host = nil
}

func putCommand(ns uint64, key, value string) *internalv1.Command {
	return &internalv1.Command{NamespaceId: ns, Epoch: 1, Operation: &internalv1.Command_Put{
		Put: &flotillav1.PutRequest{Key: []byte(key), Value: []byte(value)},
	}}
}

func (n *node) put(ns uint64, key, value string) uint64 {
	n.t.Helper()
	response, err := n.host.Propose(n.t.Context(), dataShard, "tenant", putCommand(ns, key, value))
	require.NoError(n.t, err)
	put, ok := response.(*flotillav1.PutResponse)
	require.True(n.t, ok)
	return put.GetRevision()
}

func (n *node) get(ns uint64, key string) *flotillav1.KeyValue {
	n.t.Helper()
	kv, err := n.look(ns, key)
	require.NoError(n.t, err)
	return kv
}

// look is get for those that ask again.
func (n *node) look(ns uint64, key string) (kv *flotillav1.KeyValue, err error) {
	err = n.host.Read(n.t.Context(), dataShard, shards.Linearizable, func(v *shards.View) error {
		space, state, err := v.Namespace(tenancy.NamespaceID(ns))
		if err != nil {
			return err
		}
		response, err := mvcc.Get(space, &state, &flotillav1.GetRequest{Key: []byte(key)})
		kv = response.GetKv()
		return err
	})
	return kv, err
}

func (n *node) hash() store.Hash {
	n.t.Helper()
	h, err := n.store.Shard(uint64(dataShard)).Hash()
	require.NoError(n.t, err)
	return h
}

func TestAppliedIndexIsShownAsItIs(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{})
	shown := func() (applied float64) {
		families, err := n.metrics.Gather()
		require.NoError(t, err)
		for _, family := range families {
			for _, m := range family.GetMetric() {
				if family.GetName() == "flotilla_shard_applied_index" && m.GetLabel()[0].GetValue() == "2" {
					applied = m.GetGauge().GetValue()
				}
			}
		}
		return applied
	}
	n.put(100, "k", "v")
	before := shown()
	require.Positive(t, before, "whether or not somebody asked for the status")
	n.put(100, "k", "w")
	require.InDelta(t, before+1, shown(), 0)
}

func TestConcurrentWritesAreAllThereAlsoAfterARestart(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{})
	const callers, each = 32, 20
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				_, err := n.host.Propose(t.Context(), dataShard, tenancy.TenantID(fmt.Sprint("t", c%4)),
					putCommand(uint64(100+c%3), fmt.Sprintf("%d/%d", c, i), "v"))
				if err != nil {
					t.Errorf("put: %v", err)
				}
			}
		})
	}
	wg.Wait()
	before := n.hash()
	n.stop()
	n.start()
	require.Equal(t, before, n.hash())
	for c := range callers {
		for i := range each {
			require.NotNil(t, n.get(uint64(100+c%3), fmt.Sprintf("%d/%d", c, i)))
		}
	}
}

func TestRevisionsOfNamespacesAreTheirOwn(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{})
	require.EqualValues(t, 2, n.put(10, "a", "1"))
	require.EqualValues(t, 3, n.put(10, "a", "2"))
	require.EqualValues(t, 2, n.put(11, "a", "1"))
}

func TestReadOnlyNodeRefusesWritesAndServesReads(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{})
	n.put(10, "a", "1")
	n.host.SetReadOnly(true)
	_, err := n.host.Propose(t.Context(), dataShard, "tenant", putCommand(10, "a", "2"))
	require.ErrorIs(t, err, shards.ErrDiskFull)
	require.Equal(t, "1", string(n.get(10, "a").GetValue()))
	_, err = n.host.Propose(t.Context(), dataShard, "tenant", &internalv1.Command{
		NamespaceId: 10, Epoch: 1,
		Operation: &internalv1.Command_Compact{Compact: &flotillav1.CompactRequest{Revision: 2}},
	})
	require.NoError(t, err, "a compaction frees space")
	n.host.SetReadOnly(false)
	n.put(10, "a", "3")
}

func TestFullTenantQueueRefusesThatTenantOnly(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{Queue: fair.Config{TenantItemsMax: 8}, InFlightMax: 1, EntryCommandsMax: 1})
	var refused, done int
	var mu sync.Mutex
	var wg sync.WaitGroup
	command := encode(t, putCommand(10, "a", "1"))
	for range 2000 {
		wg.Add(1)
		call := &shards.Call{Tenant: "flood", Command: command, Done: func(r machine.Result) {
			mu.Lock()
			done++
			mu.Unlock()
			wg.Done()
		}}
		if err := n.host.Submit(dataShard, call); err != nil {
			var busy *shards.BusyError
			require.ErrorAs(t, err, &busy)
			require.Equal(t, "tenant", busy.Queue)
			require.Positive(t, busy.RetryAfter)
			refused++
			wg.Done()
		}
	}
	_, err := n.host.Propose(t.Context(), dataShard, "quiet", putCommand(11, "a", "1"))
	require.NoError(t, err)
	wg.Wait()
	require.Positive(t, refused)
	require.Equal(t, 2000, refused+done)
}

func TestTenantsDoNotShutThePlatformOut(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{Queue: fair.Config{ItemsMax: 20}, InFlightMax: 1, EntryCommandsMax: 1})
	command := encode(t, putCommand(10, "a", "1"))
	var wg sync.WaitGroup
	submit := func(tenant tenancy.TenantID) error {
		wg.Add(1)
		err := n.host.Submit(dataShard, &shards.Call{Tenant: tenant, Command: command, Done: func(machine.Result) { wg.Done() }})
		if err != nil {
			wg.Done()
		}
		return err
	}
	for refused, i := 0, 0; refused < 20; i++ {
		var busy *shards.BusyError
		if err := submit(tenancy.TenantID(fmt.Sprint("tenant", i))); errors.As(err, &busy) {
			require.Equal(t, "shard", busy.Queue)
			require.NoError(t, submit(tenancy.SystemTenant))
			refused++
		}
	}
	wg.Wait()
}

func TestCanceledCallerIsToldWhetherItsWriteMayHaveHappened(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := n.host.Propose(ctx, dataShard, "tenant", putCommand(10, "a", "1"))
	if errors.Is(err, context.Canceled) { // taken out of the line
		require.Nil(t, n.get(10, "a"))
		return
	}
	if err != nil {
		require.ErrorIs(t, err, shards.ErrOutcomeUnknown)
	}
}

func TestCallAfterItsDeadlineIsNotApplied(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{})
	result := make(chan machine.Result, 1)
	require.NoError(t, n.host.Submit(dataShard, &shards.Call{
		Tenant: "tenant", Command: encode(t, putCommand(10, "a", "1")), Deadline: time.Now().Add(-time.Second),
		Done: func(r machine.Result) { result <- r },
	}))
	require.ErrorIs(t, (<-result).Err, context.DeadlineExceeded)
	require.Nil(t, n.get(10, "a"))
}

func TestCallsAreAnsweredWhenTheHostStops(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	for i := range 500 {
		key := fmt.Sprint("k", i)
		wg.Add(1)
		require.NoError(t, n.host.Submit(dataShard, &shards.Call{
			Tenant: "tenant", Command: encode(t, putCommand(10, key, "v")),
			Done: func(r machine.Result) {
				mu.Lock()
				acknowledged[key] = r.Err == nil
				mu.Unlock()
				wg.Done()
			},
		}))
	}
	host := n.host
	n.stop()
	wg.Wait()
	_, err := host.Propose(t.Context(), dataShard, "tenant", putCommand(10, "late", "v"))
	require.ErrorIs(t, err, shards.ErrStopping)
	require.ErrorIs(t, host.Read(t.Context(), dataShard, shards.Serializable, func(*shards.View) error { return nil }), shards.ErrStopping)
	n.start()
	for key, ok := range acknowledged {
		require.True(t, ok, "a stop drains the line")
		require.NotNil(t, n.get(10, key), key)
	}
}

func TestReplicaWithoutItsLogIsNotStarted(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{})
	n.stop()
	lost := n.cfg
	lost.Dir = t.TempDir()
	st, err := store.Open(store.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	defer func() { require.NoError(t, st.Close()) }()
	host, err := shards.Start(t.Context(), lost, st, n.markers, prometheus.NewRegistry(), slog.New(slog.DiscardHandler), func(error) {})
	require.NoError(t, err)
	defer func() { require.NoError(t, host.Stop(t.Context())) }()
	var missing *shards.LogMissingError
	require.ErrorAs(t, host.StartReplica(shards.ReplicaSpec{Shard: dataShard, Replica: 1}), &missing)
	require.False(t, host.HasReplica(dataShard))
}

func TestOldRevisionsAreCompactedByAgeAndPurged(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{MaintenanceInterval: 5 * time.Millisecond, CompactionAge: time.Nanosecond})
	for i := range 50 {
		n.put(10, "a", fmt.Sprint(i))
	}
	_, err := n.host.Propose(t.Context(), dataShard, "tenant", &internalv1.Command{
		NamespaceId: 10, Epoch: 1,
		Operation: &internalv1.Command_Compact{Compact: &flotillav1.CompactRequest{Revision: 51}},
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		var purged mvcc.Revision
		err := n.host.Read(t.Context(), dataShard, shards.Serializable, func(v *shards.View) error {
			_, state, err := v.Namespace(10)
			purged = state.PurgedRevision
			return err
		})
		return err == nil && purged == 51
	}, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, "49", string(n.get(10, "a").GetValue()))
}

func TestLogIsShortenedByItsBytes(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{MaintenanceInterval: 5 * time.Millisecond, LogBytesMax: 10_000})
	shortened := func() float64 {
		families, _ := n.metrics.Gather() // what is missing counts as nothing
		var sum float64
		for _, f := range families {
			if f.GetName() == "flotilla_shard_bounded_logs_total" {
				for _, m := range f.GetMetric() {
					sum += m.GetCounter().GetValue()
				}
			}
		}
		return sum
	}
	require.Zero(t, shortened())
	for i := range 20 {
		n.put(10, fmt.Sprint(i), string(make([]byte, 1000)))
	}
	require.Eventually(t, func() bool { return shortened() > 0 }, 10*time.Second, 5*time.Millisecond)
	before := n.hash()
	n.stop()
	n.start()
	require.Equal(t, before, n.hash(), "what is dropped from the log was flushed")
}
