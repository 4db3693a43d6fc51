package shards

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/statemachine"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/replica"
	"github.com/flotillakv/flotilla/shards/store"
	"github.com/flotillakv/flotilla/shards/watch"
)

// shard is this node's replica of a shard, and what serves it.
type shard struct {
	id        ShardID
	replicaID uint64
	replica   *replica.Replica
	proposer  *proposer
	reader    *reader
	clock     *replica.Clock
	rows      *store.Shard
	watches   *watch.Hub
	metrics   *shardMetrics
	gauges    []prometheus.Collector

	// leader is the replica that leads as far as this one knows, 0 for none.
	leader atomic.Uint64
	term   atomic.Uint64
	// leaderless is since when no leader is known, in Unix nanoseconds; 0 while
	// one is.
	leaderless atomic.Int64
	// settling is whether what was proposed in an earlier term is being settled.
	settling atomic.Bool
	// fresh is whether the replica joined its group and was not current since.
	fresh atomic.Bool
	// expiring is whether a command that ends leases is on its way.
	expiring atomic.Bool
	// boundedAt is what the replica had applied, in bytes, when the log was
	// last shortened because of them.
	boundedAt atomic.Int64
}

// leads tells whether this replica leads its shard, as far as it knows.
func (s *shard) leads() bool { return s.leader.Load() == s.replicaID }

// close ends what serves the replica: no caller waits for it any more.
func (s *shard) close(err error) {
	s.proposer.close()
	s.reader.close()
	s.watches.Close(err)
}

// Markers remember which replicas were started on this node, apart from their
// logs.
type Markers interface {
	HasReplica(shard ShardID, replica uint64) bool
	MarkReplica(shard ShardID, replica uint64) error
	UnmarkReplica(shard ShardID, replica uint64) error
}

// LogMissingError refuses to start a replica whose log is gone: it has voted
// and acknowledged what it no longer knows, so it must never come back. Another
// replica has to take its place.
type LogMissingError struct {
	Shard   ShardID
	Replica uint64
}

func (e *LogMissingError) Error() string {
	return fmt.Sprintf("the Raft log of replica %d of shard %d is missing, though it ran here: restore the data directory from where it was, or have the replica replaced", e.Replica, e.Shard)
}

// FirstReplica is the id of every shard's first replica. All others join: they
// begin as non-voting members, which the engine wants to be told also when they
// start again as voters.
const FirstReplica = 1

// ReplicaSpec names a replica to start.
type ReplicaSpec struct {
	Shard   ShardID
	Replica uint64
	// First makes FirstReplica the only member of a new shard. Otherwise the
	// replica was added to the group by the others, or ran here before.
	First bool
}

// StartReplica starts a replica, unless it runs. It returns once the replica has
// its log, which it may yet have to replay or to be sent. A replica whose log is
// gone is refused with a *LogMissingError.
func (h *Host) StartReplica(spec ReplicaSpec) error {
	h.changing.Lock()
	defer h.changing.Unlock()
	if s, err := h.shard(spec.Shard); err == nil {
		if s.replicaID == spec.Replica {
			return nil
		}
		return fmt.Errorf("start replica %d of shard %d: replica %d of it runs here", spec.Replica, spec.Shard, s.replicaID)
	}
	ranBefore := h.node.HasNodeInfo(uint64(spec.Shard), spec.Replica)
	if !ranBefore {
		if h.markers.HasReplica(spec.Shard, spec.Replica) {
			return &LogMissingError{Shard: spec.Shard, Replica: spec.Replica}
		}
		if spec.First != (spec.Replica == FirstReplica) {
			return fmt.Errorf("start replica %d of shard %d: replica %d alone is the first of its shard", spec.Replica, spec.Shard, FirstReplica)
		}
		// An earlier replica's state, whose removal was not completed, is none
		// of this one's.
		if err := h.store.Shard(uint64(spec.Shard)).Destroy(); err != nil {
			return fmt.Errorf("start shard %d: %w", spec.Shard, err)
		}
	}
	s := h.newShard(spec.Shard, spec.Replica)
	s.fresh.Store(!ranBefore && !spec.First)
	h.registry.Add(uint64(spec.Shard), spec.Replica, h.cfg.NodeID)
	// It is known before it starts: the engine tells of leaders from then on.
	h.mu.Lock()
	if h.ended {
		h.mu.Unlock()
		h.forget(s, ErrStopping)
		return ErrStopping
	}
	h.shards[spec.Shard] = s
	h.mu.Unlock()
	if err := h.startReplica(s, ranBefore, spec.First); err != nil {
		h.remove(s)
		h.forget(s, ErrShardNotFound)
		return fmt.Errorf("start replica %d of shard %d: %w", spec.Replica, spec.Shard, err)
	}
	// Marked after its log exists: were it the other way round, a crash in
	// between would look like a lost log.
	return h.markers.MarkReplica(spec.Shard, spec.Replica)
}

func (h *Host) startReplica(s *shard, ranBefore, first bool) error {
	create := func(uint64, uint64) statemachine.IOnDiskStateMachine { return s.replica }
	var members map[uint64]dragonboat.Target
	if first && !ranBefore {
		members = map[uint64]dragonboat.Target{s.replicaID: h.cfg.NodeID}
	}
	joins := !first && !ranBefore
	election, heartbeat := uint64(electionTicks), uint64(heartbeatTicks)
	if _, alone := h.cfg.Transport.(loneTransport); alone {
		election, heartbeat = loneElectionTicks, 1 // nobody hears it
	}
	return h.node.StartOnDiskReplica(members, joins, create, config.Config{
		ReplicaID: s.replicaID, ShardID: uint64(s.id), IsNonVoting: s.replicaID != FirstReplica,
		ElectionRTT: election, HeartbeatRTT: heartbeat,
		CheckQuorum: true, PreVote: true, OrderedConfigChange: true,
		SnapshotEntries: h.cfg.SnapshotEntries, CompactionOverhead: 1024,
		MaxInMemLogSize: h.cfg.InMemoryLogBytesMax,
	})
}

func (h *Host) newShard(id ShardID, replicaID uint64) *shard {
	m := h.metrics.of(id)
	s := &shard{id: id, replicaID: replicaID, rows: h.store.Shard(uint64(id)), metrics: m}
	s.clock = replica.NewClock(replica.SystemMonotonic())
	s.leaderless.Store(time.Now().UnixNano())
	s.watches = h.newHub(s, h.watching)
	s.replica = replica.New(s.rows, s.clock, &applyListener{host: h, shard: s}, s.watches)
	s.proposer = newProposer(id, h.node, h.cfg, proposerID(), s.clock, m, func() error {
		if s.leads() {
			return nil
		}
		return h.notLeader(s)
	})
	s.reader = newReader(id, h.node, h.cfg, m)
	s.gauges = h.metrics.watchReplica(id, s.replica)
	return s
}

// remove takes a shard off the list.
func (h *Host) remove(s *shard) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shards[s.id] == s {
		delete(h.shards, s.id)
	}
}

// forget ends what serves a replica that is not, or no longer, on the list.
func (h *Host) forget(s *shard, err error) {
	s.close(err)
	h.metrics.forget(s.id, s.gauges)
}

// DropReplica stops a replica, if it runs, and removes its log, its state and
// its mark. It must not be a member of its group any more: what it promised is
// forgotten.
func (h *Host) DropReplica(ctx context.Context, id ShardID, replicaID uint64) error {
	h.changing.Lock()
	defer h.changing.Unlock()
	if s, err := h.shard(id); err == nil && s.replicaID == replicaID {
		h.remove(s)
		// The engine stops a replica by itself when it applies its own removal.
		err := h.node.StopReplica(uint64(id), replicaID)
		h.forget(s, ErrShardNotFound)
		if err != nil && !errors.Is(err, dragonboat.ErrShardNotFound) {
			return fmt.Errorf("stop replica %d of shard %d: %w", replicaID, id, err)
		}
	}
	if err := h.node.SyncRemoveData(ctx, uint64(id), replicaID); err != nil {
		return fmt.Errorf("remove the log of replica %d of shard %d: %w", replicaID, id, err)
	}
	if _, err := h.shard(id); errors.Is(err, ErrShardNotFound) {
		h.heartbeats.forget(id)
		if err := h.store.Shard(uint64(id)).Destroy(); err != nil {
			return fmt.Errorf("remove the state of replica %d of shard %d: %w", replicaID, id, err)
		}
	}
	return h.markers.UnmarkReplica(id, replicaID)
}

// applyListener passes on what a replica applied.
type applyListener struct {
	host  *Host
	shard *shard
}

// Applied implements replica.Listener.
func (l *applyListener) Applied(header machine.Header, results []machine.Result) {
	if header.Proposer == l.shard.proposer.id {
		l.shard.proposer.applied(header.Sequence, results)
	}
}

// Halted implements replica.Listener.
func (l *applyListener) Halted(err error) {
	l.host.log.Error("replica cannot go on", "shard_id", uint64(l.shard.id), "err", err)
	l.host.onHalt(fmt.Errorf("shard %d: %w", l.shard.id, err))
}

// ReplicaStatus is what an operator wants to know of a replica.
type ReplicaStatus struct {
	Shard   ShardID `json:"shard"`
	Replica uint64  `json:"replica"`
	// Leader is the replica that leads, 0 if that is not known, and LeaderNode
	// the id of its node.
	Leader     uint64 `json:"leader"`
	LeaderNode string `json:"leader_node"`
	Term       uint64 `json:"term"`
	Applied    uint64 `json:"applied_index"`
	Queued     int    `json:"queued"`
}

// Replicas lists this node's replicas by shard.
func (h *Host) Replicas() []ReplicaStatus {
	var list []ReplicaStatus
	for _, s := range h.running() {
		list = append(list, h.status(s))
	}
	return list
}

// ShardStatus tells of this node's replica of a shard, if it has one.
func (h *Host) ShardStatus(id ShardID) (ReplicaStatus, bool) {
	s, err := h.shard(id)
	if err != nil {
		return ReplicaStatus{}, false
	}
	return h.status(s), true
}

func (h *Host) status(s *shard) ReplicaStatus {
	leader := s.leader.Load()
	return ReplicaStatus{
		Shard: s.id, Replica: s.replicaID, Leader: leader, LeaderNode: h.registry.node(s.id, leader),
		Term: s.term.Load(), Applied: s.replica.AppliedIndex(), Queued: s.proposer.queued(),
	}
}

// HasReplica tells whether a replica of the shard runs here.
func (h *Host) HasReplica(id ShardID) bool {
	_, err := h.shard(id)
	return err == nil
}

// WaitReady returns once every replica that runs is current.
func (h *Host) WaitReady(ctx context.Context) error {
	for _, s := range h.running() {
		if err := h.waitReady(ctx, s); err != nil {
			return fmt.Errorf("wait for shard %d: %w", s.id, err)
		}
	}
	return nil
}

func (h *Host) waitReady(ctx context.Context, s *shard) error {
	for {
		err := s.reader.current(ctx)
		if _, leaderless := errors.AsType[*NotLeaderError](err); err != nil && !leaderless {
			return err
		}
		// The engine may tell of the leader a moment later.
		if err == nil && s.leader.Load() != 0 {
			return nil
		}
		pause(ctx, h.cfg.RTT)
	}
}
