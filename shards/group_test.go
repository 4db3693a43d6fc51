package shards_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/shardstest"
	"github.com/flotillakv/flotilla/shards/store"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// waitMax is how long anything may take on a busy machine.
const waitMax = 30 * time.Second

// group is hosts that form Raft groups over a network in memory.
type group struct {
	t       *testing.T
	network shardstest.Network
	cfg     shards.Config
	members map[string]*member
}

type member struct {
	id      string
	dir     string
	markers *markers
	store   *store.Store
	host    *shards.Host
}

func newGroup(t *testing.T, cfg shards.Config) *group {
	t.Helper()
	return &group{t: t, cfg: cfg, members: make(map[string]*member)}
}

func (g *group) ctx() context.Context {
	ctx, cancel := context.WithTimeout(g.t.Context(), waitMax)
	g.t.Cleanup(cancel)
	return ctx
}

// start starts a node, the first time with an empty directory.
func (g *group) start(id string) *shards.Host {
	g.t.Helper()
	m, ok := g.members[id]
	if !ok {
		m = &member{id: id, dir: g.t.TempDir(), markers: &markers{known: map[string]bool{}}}
		g.members[id] = m
		g.t.Cleanup(func() { g.stop(id) })
	}
	var err error
	m.store, err = store.Open(store.Config{Dir: m.dir + "/state"})
	require.NoError(g.t, err)
	cfg := g.cfg
	cfg.NodeID, cfg.Dir, cfg.Transport = nodeID(id), m.dir+"/raft", g.network.Node(nodeID(id))
	m.host, err = shards.Start(g.t.Context(), cfg, m.store, m.markers, prometheus.NewRegistry(), slog.New(slog.DiscardHandler),
		func(err error) { g.t.Errorf("%s halted: %v", id, err) })
	require.NoError(g.t, err)
	return m.host
}

func (g *group) stop(id string) {
	m := g.members[id]
	if m.host == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(g.t.Context()), waitMax)
	defer cancel()
	require.NoError(g.t, m.host.Stop(ctx))
	require.NoError(g.t, m.store.Close())
	m.host = nil
}

func nodeID(name string) string { return "00000000-0000-4000-8000-0000000000" + name }

// three starts three nodes whose data shard has a voter on each.
func (g *group) three() (n1, n2, n3 *shards.Host) {
	g.t.Helper()
	n1, n2, n3 = g.start("01"), g.start("02"), g.start("03")
	require.NoError(g.t, n1.StartReplica(shards.ReplicaSpec{Shard: dataShard, Replica: 1, First: true}))
	require.NoError(g.t, n1.WaitReady(g.ctx()))
	g.add(n1, n2, "02", 2)
	g.add(n1, n3, "03", 3)
	return n1, n2, n3
}

// add brings a node's replica to be a voter.
func (g *group) add(leader, joining *shards.Host, name string, replica uint64) {
	g.t.Helper()
	require.NoError(g.t, leader.AddNonVoting(g.ctx(), dataShard, replica, nodeID(name)))
	require.NoError(g.t, joining.StartReplica(shards.ReplicaSpec{Shard: dataShard, Replica: replica}))
	require.NoError(g.t, joining.Current(g.ctx(), dataShard))
	require.NoError(g.t, leader.Promote(g.ctx(), dataShard, replica, nodeID(name)))
}

// put writes through whichever node leads, as long as it takes.
func (g *group) put(hosts []*shards.Host, key, value string) {
	g.t.Helper()
	ctx := g.ctx()
	for {
		for _, h := range hosts {
			_, err := h.Propose(ctx, dataShard, "tenant", putCommand(10, key, value))
			if err == nil {
				return
			}
			if _, ok := errors.AsType[*shards.NotLeaderError](err); !ok {
				require.ErrorIs(g.t, err, shards.ErrOutcomeUnknown)
			}
		}
		require.NoError(g.t, ctx.Err())
	}
}

func (g *group) get(h *shards.Host, key string) string {
	g.t.Helper()
	var value string
	require.NoError(g.t, h.Read(g.ctx(), dataShard, shards.Linearizable, func(v *shards.View) error {
		space, state, err := v.Namespace(tenancy.NamespaceID(10))
		require.NoError(g.t, err)
		response, err := mvcc.Get(space, &state, &flotillav1.GetRequest{Key: []byte(key)})
		value = string(response.GetKv().GetValue())
		return err
	}))
	return value
}

func TestGroupGrowsAndEveryReplicaReads(t *testing.T) {
	t.Parallel()
	g := newGroup(t, shards.Config{})
	n1, n2, n3 := g.three()
	members, err := n1.Membership(g.ctx(), dataShard)
	require.NoError(t, err)
	require.Equal(t, []shards.Member{
		{Replica: 1, Node: nodeID("01"), Voter: true},
		{Replica: 2, Node: nodeID("02"), Voter: true},
		{Replica: 3, Node: nodeID("03"), Voter: true},
	}, members)
	for i := range 50 {
		value := fmt.Sprint(i)
		g.put([]*shards.Host{n1}, "a", value)
		for _, h := range []*shards.Host{n1, n2, n3} {
			require.Equal(t, value, g.get(h, "a"))
		}
	}
}

// A replica that has just joined does not answer from the nothing that it has.
func TestReplicaThatJoinsHasNoStateToLag(t *testing.T) {
	t.Parallel()
	g := newGroup(t, shards.Config{})
	n1, n2 := g.start("01"), g.start("02")
	require.NoError(t, n1.StartReplica(shards.ReplicaSpec{Shard: dataShard, Replica: 1, First: true}))
	require.NoError(t, n1.WaitReady(g.ctx()))
	g.put([]*shards.Host{n1}, "a", "1")
	require.NoError(t, n1.AddNonVoting(g.ctx(), dataShard, 2, nodeID("02")))
	g.network.Cut(nodeID("02"), true)
	require.NoError(t, n2.StartReplica(shards.ReplicaSpec{Shard: dataShard, Replica: 2}))
	get := func(ctx context.Context) (string, error) {
		response, err := n2.Query(ctx, dataShard, 10, shards.Serializable, &flotillav1.GetRequest{Key: []byte("a")})
		if err != nil {
			return "", err
		}
		answer, ok := response.(*flotillav1.GetResponse)
		require.True(t, ok)
		return string(answer.GetKv().GetValue()), nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := get(ctx)
	require.Error(t, err)
	g.network.Cut(nodeID("02"), false)
	value, err := get(g.ctx())
	require.NoError(t, err)
	require.Equal(t, "1", value)
	g.network.Cut(nodeID("02"), true)
	value, err = get(g.ctx())
	require.NoError(t, err)
	require.Equal(t, "1", value, "from then on it may lag")
}

func TestFollowerRefusesCommandsAndNamesTheLeader(t *testing.T) {
	t.Parallel()
	g := newGroup(t, shards.Config{})
	_, n2, _ := g.three()
	require.NoError(t, n2.Current(g.ctx(), dataShard))
	_, err := n2.Propose(g.ctx(), dataShard, "tenant", putCommand(10, "a", "1"))
	var refused *shards.NotLeaderError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, uint64(1), refused.Leader)
	require.Equal(t, nodeID("01"), refused.Node)
}

func TestAnotherNodeLeadsWhenTheLeaderIsGone(t *testing.T) {
	t.Parallel()
	g := newGroup(t, shards.Config{})
	n1, n2, n3 := g.three()
	g.put([]*shards.Host{n1}, "a", "before")
	g.network.Cut(nodeID("01"), true)
	g.put([]*shards.Host{n2, n3}, "a", "after")
	require.Equal(t, "after", g.get(n2, "a"))
	require.Equal(t, "after", g.get(n3, "a"))
	g.network.Cut(nodeID("01"), false)
	require.Equal(t, "after", g.get(n1, "a"))
}

// TestDeposedLeaderSettles: what a leader had proposed when it was cut off is
// answered as unknown soon after it hears of the new one, and it can propose
// again at once when it leads again.
func TestDeposedLeaderSettles(t *testing.T) {
	t.Parallel()
	g := newGroup(t, shards.Config{ProposeTimeout: waitMax})
	n1, n2, n3 := g.three()
	g.put([]*shards.Host{n1}, "a", "1")
	g.network.Cut(nodeID("01"), true)
	answered := make(chan machine.Result, 16)
	for range cap(answered) {
		call := &shards.Call{Tenant: "tenant", Command: encode(t, putCommand(10, "b", "lost")), Done: func(r machine.Result) { answered <- r }}
		if err := n1.Submit(dataShard, call); err != nil { // it has stepped down already
			answered <- machine.Result{Err: err}
		}
	}
	g.put([]*shards.Host{n2, n3}, "a", "2")
	g.network.Cut(nodeID("01"), false)
	started := time.Now()
	for range cap(answered) {
		result := <-answered
		if _, refused := errors.AsType[*shards.NotLeaderError](result.Err); !refused {
			require.ErrorIs(t, result.Err, shards.ErrOutcomeUnknown)
		}
	}
	require.Less(t, time.Since(started), waitMax/2)
	leader := n2
	if n3.Leads(dataShard) {
		leader = n3
	}
	require.NoError(t, leader.TransferLeader(g.ctx(), dataShard, 1))
	g.put([]*shards.Host{n1}, "a", "3")
}

func TestLeadershipIsHandedOver(t *testing.T) {
	t.Parallel()
	g := newGroup(t, shards.Config{})
	n1, n2, n3 := g.three()
	require.Zero(t, n1.HandOver(g.ctx(), []string{nodeID("03"), nodeID("02")}))
	require.False(t, n1.Leads(dataShard))
	// Mostly it is the third one; on a machine that was busy for a while, the second.
	require.Eventually(t, func() bool { return n3.Leads(dataShard) || n2.Leads(dataShard) }, waitMax, time.Millisecond)
	leader, gone := n3, "02"
	if n2.Leads(dataShard) {
		leader, gone = n2, "03"
	}
	// The one that comes first is gone: the next one takes over.
	g.stop(gone)
	require.Zero(t, leader.HandOver(g.ctx(), []string{nodeID(gone), nodeID("01")}))
	g.put([]*shards.Host{n1, leader}, "a", "after")
}

// TestWatchesEndOnAReplicaThatIsCutOff: it will not show what happens elsewhere.
func TestWatchesEndOnAReplicaThatIsCutOff(t *testing.T) {
	t.Parallel()
	g := newGroup(t, shards.Config{})
	n1, _, n3 := g.three()
	g.put([]*shards.Host{n1}, "a", "1")
	require.NoError(t, n3.Current(g.ctx(), dataShard))
	owner := watch.Owner{Tenant: "tenant", Namespace: 10}
	began := false
	for answer, err := range n3.Watch(g.ctx(), dataShard, owner, watch.Spec{}) {
		if answer.Created {
			began = true
			g.network.Cut(nodeID("03"), true)
			continue
		}
		if answer.Canceled {
			err = answer.Err
		}
		require.ErrorAs(t, err, new(*shards.NotLeaderError))
		break
	}
	require.True(t, began)
}

// TestReplicaIsReplaced wipes a node that has written much, and gives it a new
// replica, which catches up from a snapshot.
func TestReplicaIsReplaced(t *testing.T) {
	t.Parallel()
	g := newGroup(t, shards.Config{SnapshotEntries: 64})
	n1, n2, n3 := g.three()
	for i := range 1500 {
		g.put([]*shards.Host{n1}, fmt.Sprint(i), "value")
	}
	require.NoError(t, n1.RemoveReplica(g.ctx(), dataShard, 3))
	require.NoError(t, n1.RemoveReplica(g.ctx(), dataShard, 3), "again")
	require.NoError(t, n3.DropReplica(g.ctx(), dataShard, 3))
	require.NoError(t, n3.DropReplica(g.ctx(), dataShard, 3), "again")
	require.False(t, n3.HasReplica(dataShard))
	err := n3.Read(g.ctx(), dataShard, shards.Serializable, func(*shards.View) error { return nil })
	require.ErrorIs(t, err, shards.ErrShardNotFound)
	for i := range 1500 { // so that the log before is gone
		g.put([]*shards.Host{n1}, fmt.Sprint(i), "newer")
	}
	g.add(n1, n3, "03", 4)
	require.Equal(t, "newer", g.get(n3, "7"))
	require.Equal(t, "newer", g.get(n3, "1499"))
	// It counts: the group lives without another one.
	g.stop("02")
	g.put([]*shards.Host{n1, n3}, "7", "last")
	require.Equal(t, "last", g.get(n3, "7"))
	_ = n2
}

// chatty sends a message as soon as the transport is made, as a node does that has
// waited for this one.
type chatty struct {
	config.TransportFactory
	sent *atomic.Int32
}

func (c chatty) Create(cfg config.NodeHostConfig, messages raftio.MessageHandler, chunks raftio.ChunkHandler) raftio.ITransport {
	messages(raftpb.MessageBatch{BinVer: raftio.TransportBinVersion, Requests: []raftpb.Message{{Type: raftpb.Heartbeat, ShardID: 2, From: 2, To: 1}}})
	chunks(raftpb.Chunk{ShardID: 2, ReplicaID: 1, From: 2})
	c.sent.Add(1)
	return c.TransportFactory.Create(cfg, messages, chunks)
}

func TestMessagesThatComeWhileTheEngineStartsAreDropped(t *testing.T) {
	t.Parallel()
	var sent atomic.Int32
	var network shardstest.Network
	newNode(t, shards.Config{Transport: chatty{network.Node("n"), &sent}})
	require.Equal(t, int32(1), sent.Load())
}

func TestReplicaComesBackAfterARestart(t *testing.T) {
	t.Parallel()
	g := newGroup(t, shards.Config{})
	n1, n2, n3 := g.three()
	g.put([]*shards.Host{n1}, "a", "1")
	g.stop("01")
	g.put([]*shards.Host{n2, n3}, "a", "2")
	n1 = g.start("01")
	require.NoError(t, n1.StartReplica(shards.ReplicaSpec{Shard: dataShard, Replica: 1}))
	require.Equal(t, "2", g.get(n1, "a"))
}

// TestJoinedReplicasElectAfterARestart: replicas that began as non-voting ones
// and were promoted are voters after a restart too, whether they learn of it from
// their logs or from what is before these.
func TestJoinedReplicasElectAfterARestart(t *testing.T) {
	t.Parallel()
	for name, entries := range map[string]uint64{"log": 10_000, "snapshot": 32} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGroup(t, shards.Config{SnapshotEntries: entries})
			n1, n2, n3 := g.three()
			for i := range 1200 {
				g.put([]*shards.Host{n1}, "a", fmt.Sprint(i))
			}
			g.stop("01")
			g.put([]*shards.Host{n2, n3}, "a", "last")
			g.stop("02")
			g.stop("03")
			n2, n3 = g.start("02"), g.start("03")
			require.NoError(t, n2.StartReplica(shards.ReplicaSpec{Shard: dataShard, Replica: 2}))
			require.NoError(t, n3.StartReplica(shards.ReplicaSpec{Shard: dataShard, Replica: 3}))
			g.put([]*shards.Host{n2, n3}, "b", "1")
			require.Equal(t, "last", g.get(n2, "a"))
		})
	}
}

func TestUnknownCommandsAreRefusedBeforeTheyAreProposed(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{})
	for _, command := range [][]byte{{0xfa, 0x3f, 1, 0}, {0xff}, []byte("garbage")} {
		err := n.host.Submit(dataShard, &shards.Call{Tenant: "tenant", Command: command, Done: func(machine.Result) {}})
		var refused *shards.LevelError
		require.ErrorAs(t, err, &refused)
	}
	bounded := putCommand(10, "a", "0")
	bounded.KeysMax = 1
	n.host.SetLevel(machine.LevelQuotas - 1)
	_, err := n.host.Propose(t.Context(), dataShard, "tenant", bounded)
	require.ErrorAs(t, err, new(*shards.LevelError), "older nodes would not heed the bound")
	n.put(10, "a", "0")
	n.host.SetLevel(0)
	_, err = n.host.Propose(t.Context(), dataShard, "tenant", putCommand(10, "a", "1"))
	require.ErrorAs(t, err, new(*shards.LevelError))
	n.host.SetLevel(machine.Level)
	n.put(10, "a", "1")
}
