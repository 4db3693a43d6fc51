package shards

import (
	"context"
	"fmt"
	"time"

	"github.com/lni/dragonboat/v4/raftio"
)

// Raft's times in ticks (Config.RTT). An election begins after 12 to 24 of them
// without a word from the leader, so a follower outlives a pause of 360 ms that
// is nobody's death, and a leader that died is followed by another within three
// quarters of a second; within one and a half, if those that are left have voted
// against each other once. Heartbeats are most of what an idle node does.
const (
	electionTicks  = 12
	heartbeatTicks = 3
	// A node without peers waits for nobody.
	loneElectionTicks = 4
	// settleTicks is how long a proposal of an earlier term may still come to
	// be applied, once the replica has caught up with the new leader.
	settleTicks = 5
)

// LeaderUpdated implements the library's event listener. It shares a goroutine
// with the engine, so it only notes what it hears.
func (h *Host) LeaderUpdated(info raftio.LeaderInfo) {
	s, err := h.shard(ShardID(info.ShardID))
	if err != nil || s.replicaID != info.ReplicaID {
		return
	}
	led := s.leads()
	s.leader.Store(info.LeaderID)
	s.term.Store(info.Term)
	if info.LeaderID != 0 {
		s.leaderless.Store(0)
	} else {
		s.leaderless.CompareAndSwap(0, time.Now().UnixNano())
	}
	s.metrics.leader.Set(0)
	if s.leads() {
		s.metrics.leader.Set(1)
	}
	if led != s.leads() {
		h.log.Info("leadership changed", "shard_id", info.ShardID, "replica_id", info.ReplicaID, "term", info.Term, "leads", s.leads())
	}
	s.reader.leaderChanged()
	if led && !s.leads() {
		select {
		case h.deposed <- s:
		default: // as many wait as there can be shards: it is among them
		}
	}
}

// leaderlessMax is for how long a replica without a leader shows watches what it
// has: it may be cut off, or be no member any more, and another replica has more.
const leaderlessMax = 3 * time.Second

// endBlindWatches ends the watches on a replica that has had no leader for long.
// Those who ask for them begin again elsewhere.
func (h *Host) endBlindWatches(s *shard) {
	since := s.leaderless.Load()
	if since != 0 && time.Since(time.Unix(0, since)) > leaderlessMax {
		s.watches.EndAll(&NotLeaderError{Shard: s.id})
	}
}

// settleDeposed settles what replicas had proposed that lead no more, until ctx
// ends.
func (h *Host) settleDeposed(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-h.deposed:
			if s.settling.CompareAndSwap(false, true) {
				h.workers.Go(func() { h.settle(ctx, s) })
			}
		}
	}
}

// settle ends the waiting for entries that this replica proposed while it led.
// Raft does not tell what became of them: those that the new leader has are
// applied by the time that this replica is current in its term, and answered by
// that; whether one that is not will ever be is unknown. Waiting for the end of
// the proposal timeout instead would keep callers, and the proposer's senders,
// for seconds after each change of leader.
func (h *Host) settle(ctx context.Context, s *shard) {
	defer s.settling.Store(false)
	ctx, cancel := context.WithTimeout(ctx, h.cfg.ProposeTimeout)
	defer cancel()
	_ = s.reader.current(ctx) // if it fails, the time that it took will do
	pause(ctx, settleTicks*h.cfg.RTT)
	s.proposer.settle()
}

// notLeader says who leads instead.
func (h *Host) notLeader(s *shard) error {
	leader := s.leader.Load()
	return &NotLeaderError{Shard: s.id, Leader: leader, Node: h.registry.node(s.id, leader)}
}

// Leader is the node that leads a shard as its replica here knows it, and the
// Raft term: "" if it knows of none, or there is no replica here.
func (h *Host) Leader(id ShardID) (node string, term uint64) {
	s, err := h.shard(id)
	if err != nil {
		return "", 0
	}
	return h.registry.node(id, s.leader.Load()), s.term.Load()
}

// Leads tells whether this node leads a shard, as far as it knows.
func (h *Host) Leads(id ShardID) bool {
	s, err := h.shard(id)
	return err == nil && s.leads()
}

// Term is the Raft term of a shard as this node knows it, 0 if it has no
// replica of it.
func (h *Host) Term(id ShardID) uint64 {
	_, term := h.Leader(id)
	return term
}

// Current returns once this node's replica of a shard has applied all that was
// committed before the call.
func (h *Host) Current(ctx context.Context, id ShardID) error {
	s, err := h.shard(id)
	if err != nil {
		return err
	}
	return s.reader.current(ctx)
}

// TransferLeader has another voter lead a shard that this node leads. The engine
// only tries, and drops commands meanwhile, so this returns once the replica
// leads, or with an error when it does not within two election timeouts.
func (h *Host) TransferLeader(ctx context.Context, id ShardID, replica uint64) error {
	s, err := h.shard(id)
	if err != nil {
		return err
	}
	if s.leader.Load() == replica {
		return nil
	}
	if !s.leads() {
		return h.notLeader(s)
	}
	if err := h.node.RequestLeaderTransfer(uint64(id), replica); err != nil {
		return fmt.Errorf("transfer the leadership of shard %d to replica %d: %w", id, replica, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 4*electionTicks*h.cfg.RTT, errTransferLate)
	defer cancel()
	ticker := time.NewTicker(h.cfg.RTT)
	defer ticker.Stop()
	for s.leader.Load() != replica {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("transfer the leadership of shard %d to replica %d: %w", id, replica, context.Cause(ctx))
		}
	}
	return nil
}

// HandOver has others lead the shards that this node leads, before it stops: of
// each the first voter in the order of candidates, which are node ids, that takes
// over. It returns how many shards it still leads.
func (h *Host) HandOver(ctx context.Context, candidates []string) (left int) {
	done := make(chan bool)
	led := 0
	for _, s := range h.running() {
		if s.leads() {
			led++
			go func() { done <- h.handOver(ctx, s, candidates) }()
		}
	}
	for range led {
		if !<-done {
			left++
		}
	}
	return left
}

func (h *Host) handOver(ctx context.Context, s *shard, candidates []string) bool {
	members, err := h.Membership(ctx, s.id)
	if err != nil {
		h.log.Warn("leadership is not handed over", "shard_id", uint64(s.id), "err", err)
		return !s.leads()
	}
	for _, node := range candidates {
		for _, m := range members {
			if m.Node != node || !m.Voter || m.Replica == s.replicaID {
				continue
			}
			if err = h.TransferLeader(ctx, s.id, m.Replica); err == nil {
				return true
			}
		}
	}
	if err != nil {
		h.log.Warn("leadership is not handed over", "shard_id", uint64(s.id), "err", err)
	}
	return !s.leads()
}
