package shards

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/statemachine"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/replica"
	"github.com/flotillakv/flotilla/shards/store"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// loneReplica is the replica id of a shard's only replica.
const loneReplica = 1

// A Host runs this node's replicas: it proposes commands to them, makes them
// current for reads, and drives their maintenance.
type Host struct {
	cfg    Config
	log    *slog.Logger
	store  *store.Store
	node   *dragonboat.NodeHost
	shards map[ShardID]*shard
	onHalt func(error)

	readOnly atomic.Bool
	accounts watch.Accounts
	stop     context.CancelFunc
	workers  sync.WaitGroup

	// reading is held shared by each read for as long as it uses the store,
	// so that the store is not closed under it.
	reading sync.RWMutex
	stopped bool
}

// shard is one replica and what serves it.
type shard struct {
	id       ShardID
	replica  *replica.Replica
	proposer *proposer
	reader   *reader
	clock    *replica.Clock
	rows     *store.Shard
	watches  *watch.Hub
	metrics  *shardMetrics
	leader   atomic.Uint64
	// expiring is whether a command that ends leases is on its way.
	expiring atomic.Bool
	term     atomic.Uint64
}

// Markers remember which replicas were started on this node, apart from their
// logs.
type Markers interface {
	HasReplica(shard ShardID, replica uint64) bool
	MarkReplica(shard ShardID, replica uint64) error
}

// LogMissingError refuses to start a replica whose log is gone: it has voted
// and acknowledged what it no longer knows, so it must never come back.
type LogMissingError struct{ Shard ShardID }

func (e *LogMissingError) Error() string {
	return fmt.Sprintf("the Raft log of shard %d is missing, though its replica ran here: restore the data directory from where it was, or start with an empty one", e.Shard)
}

// Start starts the node's replicas over its store. The store must outlive the
// host. onHalt is called if a replica cannot go on: the process should end.
func Start(ctx context.Context, cfg Config, st *store.Store, markers Markers, reg prometheus.Registerer, log *slog.Logger, onHalt func(error)) (*Host, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("shards: %w", err)
	}
	logLibraryTo(log)
	h := &Host{cfg: cfg, log: log, store: st, shards: make(map[ShardID]*shard), onHalt: onHalt}
	node, err := dragonboat.NewNodeHost(h.nodeConfig())
	if err != nil {
		return nil, fmt.Errorf("start the Raft engine: %w", err)
	}
	h.node = node
	// All shards are known before the first starts: the engine tells of
	// leaders from then on.
	m := newMetrics(reg)
	watches := watch.NewMetrics(reg, &h.accounts)
	for _, id := range cfg.Shards {
		h.shards[id] = h.newShard(id, m.of(id), watches)
		m.watchReplica(id, h.shards[id].replica)
	}
	for _, id := range cfg.Shards {
		if err := h.startReplica(h.shards[id], markers); err != nil {
			node.Close()
			h.closeShards()
			return nil, fmt.Errorf("start shard %d: %w", id, err)
		}
	}
	// Maintenance ends by Stop, in its turn, not with the caller's context.
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	h.stop = stop
	h.workers.Go(func() { h.maintain(ctx) })
	h.workers.Go(func() { h.expireLeases(ctx) })
	return h, nil
}

func (h *Host) nodeConfig() config.NodeHostConfig {
	logs := config.GetSmallMemLogDBConfig()
	logs.Shards = h.cfg.LogStores
	// Entries are dropped soon after they are applied, so larger buffers would
	// hold memory and little else.
	logs.KVWriteBufferSize = 8 << 20
	return config.NodeHostConfig{
		NodeHostID:     h.cfg.NodeID,
		NodeHostDir:    h.cfg.Dir,
		RTTMillisecond: uint64(h.cfg.RTT / time.Millisecond),
		RaftAddress:    h.cfg.NodeID,
		// Queues are unbounded unless these are set.
		MaxSendQueueSize:    64 << 20,
		MaxReceiveQueueSize: 64 << 20,
		RaftEventListener:   h,
		Expert: config.ExpertConfig{
			NodeRegistryFactory: newRegistry(),
			TransportFactory:    loneTransport{},
			LogDB:               logs,
			Engine: config.EngineConfig{
				ExecShards: h.cfg.LogStores, CommitShards: 4, ApplyShards: 4,
				SnapshotShards: 4, CloseShards: 2,
			},
		},
	}
}

func (h *Host) newShard(id ShardID, m *shardMetrics, watches *watch.Metrics) *shard {
	s := &shard{id: id, rows: h.store.Shard(uint64(id)), metrics: m}
	s.clock = replica.NewClock(replica.SystemMonotonic())
	s.watches = h.newHub(s, watches)
	s.replica = replica.New(s.rows, s.clock, &applyListener{host: h, shard: s}, s.watches)
	s.proposer = newProposer(id, h.node, h.cfg, proposerID(), s.clock, m)
	s.reader = newReader(id, h.node, h.cfg, m)
	return s
}

func (h *Host) startReplica(s *shard, markers Markers) error {
	if markers.HasReplica(s.id, loneReplica) && !h.node.HasNodeInfo(uint64(s.id), loneReplica) {
		return &LogMissingError{Shard: s.id}
	}
	create := func(uint64, uint64) statemachine.IOnDiskStateMachine { return s.replica }
	members := map[uint64]dragonboat.Target{loneReplica: h.cfg.NodeID}
	err := h.node.StartOnDiskReplica(members, false, create, config.Config{
		ReplicaID: loneReplica, ShardID: uint64(s.id),
		ElectionRTT: 10, HeartbeatRTT: 1,
		CheckQuorum: true, PreVote: true, OrderedConfigChange: true,
		SnapshotEntries: h.cfg.SnapshotEntries, CompactionOverhead: 1024,
		MaxInMemLogSize: h.cfg.InMemoryLogBytesMax,
	})
	if err != nil {
		return err
	}
	// Marked after its log exists: were it the other way round, a crash in
	// between would look like a lost log.
	return markers.MarkReplica(s.id, loneReplica)
}

func proposerID() uint64 {
	var b [8]byte
	rand.Read(b[:]) // it never fails
	return binary.LittleEndian.Uint64(b[:])
}

// Stop lets the commands in line go their way for at most as long as ctx
// lasts, then stops the replicas. No accepted command is lost: each was
// answered, or its caller was told that its outcome is unknown.
func (h *Host) Stop(ctx context.Context) error {
	h.stop()
	drained := make(chan struct{})
	go func() {
		h.workers.Wait()
		h.closeShards()
		close(drained)
	}()
	var err error
	select {
	case <-drained:
	case <-ctx.Done():
		err = fmt.Errorf("stop the shards: %w", context.Cause(ctx))
	}
	h.node.Close() // ends what still waits
	<-drained
	h.reading.Lock()
	h.stopped = true
	h.reading.Unlock()
	return err
}

func (h *Host) closeShards() {
	for _, s := range h.shards {
		s.proposer.close()
		s.reader.close()
		s.watches.Close(ErrStopping)
	}
}

// LeaderUpdated implements the library's event listener. It shares a goroutine
// with the engine, so it only notes what it hears.
func (h *Host) LeaderUpdated(info raftio.LeaderInfo) {
	s, ok := h.shards[ShardID(info.ShardID)]
	if !ok {
		return
	}
	s.leader.Store(info.LeaderID)
	s.term.Store(info.Term)
	s.metrics.leader.Set(0)
	if info.LeaderID == loneReplica {
		s.metrics.leader.Set(1)
	}
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

// SetReadOnly refuses commands with ErrDiskFull, or lets them in again. Those
// that free space are let in always.
func (h *Host) SetReadOnly(readOnly bool) { h.readOnly.Store(readOnly) }

// ReadOnly tells whether commands are refused for want of space.
func (h *Host) ReadOnly() bool { return h.readOnly.Load() }

// Submit puts a call in its tenant's line. An error says that it was refused,
// and that Done will not be called.
func (h *Host) Submit(id ShardID, c *Call) error {
	s, ok := h.shards[id]
	if !ok {
		return fmt.Errorf("shard %d: %w", id, ErrShardNotFound)
	}
	if h.readOnly.Load() && !c.FreesSpace {
		return ErrDiskFull
	}
	return s.proposer.submit(c)
}

// Propose applies one command and waits for its answer. When ctx ends while
// the command is in line it was not applied; when it ends later the error is
// ErrOutcomeUnknown.
func (h *Host) Propose(ctx context.Context, id ShardID, tenant tenancy.TenantID, command *internalv1.Command) (proto.Message, error) {
	encoded, err := proto.Marshal(command)
	if err != nil {
		return nil, fmt.Errorf("encode a command: %w", err)
	}
	answered := make(chan machine.Result, 1)
	call := &Call{
		Tenant: tenant, Command: encoded, FreesSpace: freesSpace(command),
		Done: func(r machine.Result) { answered <- r },
	}
	if deadline, ok := ctx.Deadline(); ok {
		call.Deadline = deadline
	}
	if err := h.Submit(id, call); err != nil {
		return nil, err
	}
	select {
	case r := <-answered:
		return r.Response, r.Err
	case <-ctx.Done():
		if call.Cancel() {
			return nil, fmt.Errorf("wait in line of shard %d: %w", id, ctx.Err())
		}
		return nil, fmt.Errorf("wait for shard %d: %w", id, ErrOutcomeUnknown)
	}
}

// freesSpace tells which commands are let in on a full disk. Those that renew
// and end leases write what was there before, or remove it; without them all
// leases of the node's tenants would end, or none.
func freesSpace(c *internalv1.Command) bool {
	switch c.GetOperation().(type) {
	case *internalv1.Command_Compact, *internalv1.Command_CompactAged, *internalv1.Command_PurgeSlice,
		*internalv1.Command_KeepAlive, *internalv1.Command_RevokeLease, *internalv1.Command_ExpireLeases:
		return true
	default:
		return false
	}
}

// WaitReady returns once every shard has a leader and is current.
func (h *Host) WaitReady(ctx context.Context) error {
	for _, s := range h.shards {
		for {
			err := s.reader.current(ctx)
			if err == nil {
				break
			}
			if _, ok := errors.AsType[*NotLeaderError](err); !ok {
				return fmt.Errorf("wait for shard %d: %w", s.id, err)
			}
		}
	}
	return nil
}

// ShardStatus is what an operator wants to know of a replica.
type ShardStatus struct {
	Shard   ShardID `json:"shard"`
	Leader  uint64  `json:"leader"`
	Term    uint64  `json:"term"`
	Applied uint64  `json:"applied_index"`
	Queued  int     `json:"queued"`
}

// Status lists this node's replicas.
func (h *Host) Status() []ShardStatus {
	var list []ShardStatus
	for _, id := range h.cfg.Shards {
		list = append(list, h.shards[id].status())
	}
	return list
}

// ShardStatus tells of this node's replica of a shard, if it has one.
func (h *Host) ShardStatus(id ShardID) (ShardStatus, bool) {
	s, ok := h.shards[id]
	if !ok {
		return ShardStatus{}, false
	}
	return s.status(), true
}

// Term is the Raft term of a shard as this node knows it, 0 if it has no
// replica of it.
func (h *Host) Term(id ShardID) uint64 {
	s, ok := h.shards[id]
	if !ok {
		return 0
	}
	return s.term.Load()
}

func (s *shard) status() ShardStatus {
	return ShardStatus{
		Shard: s.id, Leader: s.leader.Load(), Term: s.term.Load(),
		Applied: s.replica.AppliedIndex(), Queued: s.proposer.queued(),
	}
}
