package placement

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/placement/catalog"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
)

// fakeHost is a node's host and the Raft groups of its shards.
type fakeHost struct {
	mu      sync.Mutex
	running map[shards.ShardID]shards.ReplicaStatus
	groups  map[shards.ShardID]map[uint64]bool
	noLog   map[uint64]bool // replicas that have lost their log
	fails   error
	// noHandOver is why leadership cannot be handed over.
	noHandOver error
	calls      int
	level      uint32
	dropped    []uint64
	// handing counts the hand-overs that are on their way, which end with release.
	handing, handingMax, handOvers int
	release                        chan struct{}
}

func (h *fakeHost) do(act func()) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	if h.fails == nil {
		act()
	}
	return h.fails
}

func (h *fakeHost) Replicas() []shards.ReplicaStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []shards.ReplicaStatus
	for _, r := range h.running {
		list = append(list, r)
	}
	return list
}

func (h *fakeHost) StartReplica(spec shards.ReplicaSpec) error {
	if h.noLog[spec.Replica] {
		return &shards.LogMissingError{Shard: spec.Shard, Replica: spec.Replica}
	}
	return h.do(func() {
		status := shards.ReplicaStatus{Shard: spec.Shard, Replica: spec.Replica}
		if spec.First {
			status.Leader = spec.Replica
			h.groups[spec.Shard] = map[uint64]bool{spec.Replica: true}
		}
		h.running[spec.Shard] = status
	})
}

func (h *fakeHost) DropReplica(_ context.Context, shard shards.ShardID, replica uint64) error {
	return h.do(func() {
		h.dropped = append(h.dropped, replica)
		if h.running[shard].Replica == replica {
			delete(h.running, shard)
		}
	})
}

func (h *fakeHost) Current(context.Context, shards.ShardID) error { return h.do(func() {}) }

func (h *fakeHost) Membership(_ context.Context, shard shards.ShardID) (list []shards.Member, err error) {
	err = h.do(func() {
		for id, votes := range h.groups[shard] {
			list = append(list, shards.Member{Replica: id, Voter: votes})
		}
	})
	return list, err
}

func (h *fakeHost) AddNonVoting(_ context.Context, shard shards.ShardID, replica uint64, _ string) error {
	return h.do(func() { h.groups[shard][replica] = false })
}

func (h *fakeHost) Promote(_ context.Context, shard shards.ShardID, replica uint64, _ string) error {
	return h.do(func() { h.groups[shard][replica] = true })
}

func (h *fakeHost) RemoveReplica(_ context.Context, shard shards.ShardID, replica uint64) error {
	return h.do(func() { delete(h.groups[shard], replica) })
}

func (h *fakeHost) TransferLeader(_ context.Context, shard shards.ShardID, replica uint64) error {
	h.mu.Lock()
	h.handOvers++
	err := h.noHandOver
	if err == nil {
		h.handing++
		h.handingMax = max(h.handingMax, h.handing)
	}
	h.mu.Unlock()
	if err != nil {
		return err
	}
	<-h.release
	return h.do(func() {
		h.handing--
		status := h.running[shard]
		status.Leader = replica
		h.running[shard] = status
	})
}

func (h *fakeHost) SetLevel(level uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.level = level
}

// fakePlacements are records that a directory learns of at once.
type fakePlacements struct {
	mu        sync.Mutex
	records   map[uint64]*internalv1.PlacementRecord
	revision  uint64
	directory *catalog.Directory
}

func (p *fakePlacements) Placement(_ context.Context, id shards.ShardID) (*internalv1.PlacementRecord, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return proto.CloneOf(p.records[uint64(id)]), nil
}

func (p *fakePlacements) ChangePlacement(_ context.Context, id shards.ShardID, edit func(*internalv1.PlacementRecord) bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := proto.CloneOf(p.records[uint64(id)])
	if edit(next) {
		p.put(id, next)
	}
	return nil
}

func (p *fakePlacements) set(id shards.ShardID, placed *internalv1.PlacementRecord) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(id, placed)
}

// put needs mu.
func (p *fakePlacements) put(id shards.ShardID, placed *internalv1.PlacementRecord) {
	p.records[uint64(id)] = placed
	p.revision++
	p.directory.Seed(&internalv1.Directory{
		Revision: p.revision, Placements: mapsClone(p.records), Cluster: &internalv1.ClusterRecord{Level: 7},
		Nodes: map[string]*internalv1.NodeRecord{"me": {}, "a": {}, "b": {}, "dead": {DeadSinceMs: 1}},
	})
}

func mapsClone(m map[uint64]*internalv1.PlacementRecord) map[uint64]*internalv1.PlacementRecord {
	next := make(map[uint64]*internalv1.PlacementRecord, len(m))
	for id, placed := range m {
		next[id] = proto.CloneOf(placed)
	}
	return next
}

// states are the states of a shard's replicas, by id.
func (p *fakePlacements) states(id shards.ShardID) map[uint64]internalv1.ReplicaState {
	p.mu.Lock()
	defer p.mu.Unlock()
	states := make(map[uint64]internalv1.ReplicaState)
	for _, r := range p.records[uint64(id)].GetReplicas() {
		states[r.GetReplicaId()] = r.GetState()
	}
	return states
}

// startAgent runs an agent on the node "me" in a bubble.
func startAgent(t *testing.T) (*fakeHost, *fakePlacements) {
	t.Helper()
	h := &fakeHost{
		running: make(map[shards.ShardID]shards.ReplicaStatus), groups: make(map[shards.ShardID]map[uint64]bool),
		noLog: make(map[uint64]bool), release: make(chan struct{}),
	}
	p := &fakePlacements{records: make(map[uint64]*internalv1.PlacementRecord), directory: catalog.NewDirectory()}
	agent := NewAgent("me", h, p, p.directory, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
	return h, p
}

// pass lets time pass in a bubble.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	<-time.After(d)
	synctest.Wait()
}

// The life of a group that this node leads: its first replica, two more, and one
// that goes.
func TestAgentLeads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, p := startAgent(t)
		p.set(2, placedOn("", "me", first))
		synctest.Wait()
		require.Equal(t, map[uint64]internalv1.ReplicaState{1: voter}, p.states(2))
		require.EqualValues(t, 7, h.level)

		p.set(2, placedOn("", "me", voter, "a", adding, "b", adding))
		synctest.Wait()
		require.Equal(t, map[uint64]internalv1.ReplicaState{1: voter, 2: catchingUp, 3: catchingUp}, p.states(2))
		require.Equal(t, map[uint64]bool{1: true, 2: false, 3: false}, h.groups[2])
		p.set(2, placedOn("", "me", voter, "a", promoting, "b", removing))
		synctest.Wait()
		require.Equal(t, map[uint64]internalv1.ReplicaState{1: voter, 2: voter}, p.states(2))
		require.Equal(t, map[uint64]bool{1: true, 2: true}, h.groups[2])
	})
}

// The life of a replica that joins a group that others lead.
func TestAgentFollows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, p := startAgent(t)
		p.set(2, placedOn("", "a", voter, "me", adding))
		synctest.Wait()
		require.Empty(t, h.Replicas())
		p.set(2, placedOn("", "a", voter, "me", catchingUp))
		synctest.Wait()
		require.Equal(t, caughtUp, p.states(2)[2])
		p.set(2, placedOn("", "a", voter))
		synctest.Wait()
		require.Empty(t, h.Replicas(), "it was removed, so it is dropped")
	})
}

// A replica without its log is never started: it is replaced, unless there is
// nothing to replace it from.
func TestAgentWithoutALog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, p := startAgent(t)
		h.noLog[2] = true
		p.set(2, placedOn("", "a", voter, "me", voter, "b", voter))
		p.set(3, placedOn("", "a", caughtUp, "me", voter))
		synctest.Wait()
		pass(t, time.Minute)
		require.Empty(t, h.Replicas())
		require.Equal(t, removing, p.states(2)[2])
		require.Equal(t, voter, p.states(3)[2])
		require.Empty(t, h.dropped)

		p.set(2, placedOn("", "a", voter, "other", removing, "b", voter, "me", catchingUp))
		require.NoError(t, p.ChangePlacement(t.Context(), 2, func(r *internalv1.PlacementRecord) bool {
			r.Replicas = slices.Delete(r.GetReplicas(), 1, 2)
			return true
		}))
		pass(t, time.Minute)
		require.Equal(t, []uint64{2}, h.dropped, "what is left of it goes, once the group has removed it")
		require.Len(t, h.Replicas(), 1)
	})
}

// What fails is tried again, less and less often; what is stuck keeps nothing else
// back.
func TestAgentRetries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, p := startAgent(t)
		h.fails = errors.New("the group has no leader")
		p.set(2, placedOn("", "a", voter, "me", catchingUp))
		pass(t, time.Minute)
		h.mu.Lock()
		require.InDelta(t, 16, h.calls, 7)
		h.fails = nil
		h.mu.Unlock()
		pass(t, 2*retryMax)
		synctest.Wait()
		require.Equal(t, caughtUp, p.states(2)[2])
	})
}

// Leadership is handed over of a few shards at a time.
func TestAgentHandsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, p := startAgent(t)
		const n = 6
		for id := shards.ShardID(2); id < 2+n; id++ {
			p.set(id, placedOn("", "me", first))
		}
		synctest.Wait()
		for id := shards.ShardID(2); id < 2+n; id++ {
			p.set(id, placedOn("a", "me", voter, "a", voter))
		}
		for range n {
			synctest.Wait()
			h.release <- struct{}{}
			pass(t, agentEvery)
		}
		synctest.Wait()
		require.Equal(t, transfersMax, h.handingMax)
		led := slices.DeleteFunc(h.Replicas(), func(r shards.ReplicaStatus) bool { return r.Leader == 2 })
		require.Empty(t, led)
	})
}

// A hand-over that fails is seldom tried again, as it keeps writers waiting.
func TestAgentHandsOverSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, p := startAgent(t)
		p.set(2, placedOn("", "me", first))
		synctest.Wait()
		h.mu.Lock()
		h.noHandOver = errors.New("the other does not take over")
		h.mu.Unlock()
		p.set(2, placedOn("a", "me", voter, "a", voter))
		pass(t, 10*time.Minute)
		synctest.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		require.InDelta(t, 6, h.handOvers, 1)
	})
}

// Members that no record knows are removed from a group that this node leads, but
// not on the word of a record that does not know this node either.
func TestAgentFindsStrangers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, p := startAgent(t)
		p.set(2, placedOn("", "me", first))
		synctest.Wait()
		h.mu.Lock()
		h.groups[2][9] = false
		h.groups[3] = map[uint64]bool{5: true, 9: true}
		h.running[3] = shards.ReplicaStatus{Shard: 3, Replica: 5, Leader: 5}
		h.mu.Unlock()
		pass(t, 2*reconcileEvery)
		synctest.Wait()
		require.Equal(t, map[uint64]bool{1: true}, h.groups[2])
		require.Equal(t, map[uint64]bool{5: true, 9: true}, h.groups[3])
		require.Len(t, h.Replicas(), 2, "nobody has said anything about the other shard")
	})
}
