package shards

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/store"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// A Host runs this node's replicas: it proposes commands to those that lead,
// makes them current for reads, and drives their maintenance. Which replicas
// there are is told by StartReplica and DropReplica.
type Host struct {
	cfg      Config
	log      *slog.Logger
	store    *store.Store
	node     *dragonboat.NodeHost
	registry *registry
	markers  Markers
	metrics  *metrics
	watching *watch.Metrics
	onHalt   func(error)
	// heartbeats are those of the replicas that lead.
	heartbeats *heartbeats

	readOnly atomic.Bool
	level    atomic.Uint32
	agreed   atomic.Uint32 // the level that SetLevel told, 0 before it
	accounts watch.Accounts
	turns    *turns
	stop     context.CancelFunc
	workers  sync.WaitGroup
	deposed  chan *shard // replicas that lead no more

	// changing is held while a replica starts or is dropped, before mu.
	changing sync.Mutex
	mu       sync.RWMutex
	shards   map[ShardID]*shard
	ended    bool // no replica starts any more

	// reading is held shared by each read for as long as it uses the store,
	// so that the store is not closed under it.
	reading sync.RWMutex
	stopped bool
}

// Start starts a node's consensus engine over its store, without replicas. The
// store must outlive the host. onHalt is called if a replica cannot go on: the
// process should end.
func Start(ctx context.Context, cfg Config, st *store.Store, markers Markers, reg prometheus.Registerer, log *slog.Logger, onHalt func(error)) (*Host, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("shards: %w", err)
	}
	logLibraryTo(log)
	h := &Host{
		cfg: cfg, log: log, store: st, registry: newRegistry(), markers: markers, metrics: newMetrics(reg),
		shards: make(map[ShardID]*shard), onHalt: onHalt, deposed: make(chan *shard, 1024),
		turns: newTurns(cfg.LongReadsMax),
	}
	h.metrics.watchTurns(h.turns)
	h.watching = watch.NewMetrics(reg, &h.accounts)
	h.level.Store(machine.Level)
	h.heartbeats = &heartbeats{interval: (heartbeatTicks - 1) * h.cfg.RTT}
	entrance := &gate{TransportFactory: h.cfg.Transport, heartbeats: h.heartbeats}
	node, err := dragonboat.NewNodeHost(h.nodeConfig(entrance))
	if err != nil {
		return nil, fmt.Errorf("start the Raft engine: %w", err)
	}
	entrance.open.Store(true)
	h.node = node
	// Maintenance ends by Stop, in its turn, not with the caller's context.
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	h.stop = stop
	h.workers.Go(func() { h.maintain(ctx) })
	h.workers.Go(func() { h.expireLeases(ctx) })
	h.workers.Go(func() { h.settleDeposed(ctx) })
	return h, nil
}

func (h *Host) nodeConfig(transport config.TransportFactory) config.NodeHostConfig {
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
			NodeRegistryFactory: h.registry,
			TransportFactory:    transport,
			LogDB:               logs,
			FS:                  logDisk(),
			Engine: config.EngineConfig{
				ExecShards: h.cfg.LogStores, CommitShards: 4, ApplyShards: 4,
				SnapshotShards: 4, CloseShards: 2,
			},
		},
	}
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
	h.mu.Lock()
	h.ended = true
	h.mu.Unlock()
	drained := make(chan struct{})
	go func() {
		h.workers.Wait()
		for _, s := range h.running() {
			s.close(ErrStopping)
		}
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

// shard is this node's replica of a shard, if it has one.
func (h *Host) shard(id ShardID) (*shard, error) {
	h.mu.RLock()
	s, ok := h.shards[id]
	h.mu.RUnlock()
	if !ok {
		return nil, notFound(id)
	}
	return s, nil
}

// running lists the replicas in the order of their shards.
func (h *Host) running() []*shard {
	h.mu.RLock()
	defer h.mu.RUnlock()
	list := slices.Collect(maps.Values(h.shards))
	slices.SortFunc(list, func(a, b *shard) int { return cmp.Compare(a.id, b.id) })
	return list
}

// SetReadOnly refuses commands with ErrDiskFull, or lets them in again. Those
// that free space are let in always.
func (h *Host) SetReadOnly(readOnly bool) { h.readOnly.Store(readOnly) }

// SetLevel lets in commands up to a feature level, and has the shards come to it that
// this node leads. It is what every node knows; until it is set, commands are let in
// that this one does.
func (h *Host) SetLevel(level uint32) {
	h.level.Store(level)
	h.agreed.Store(min(level, machine.Level))
}

// ReadOnly tells whether commands are refused for want of space.
func (h *Host) ReadOnly() bool { return h.readOnly.Load() }

// Submit puts a call in its tenant's line, if this node leads the shard. An
// error says that it was refused, and that Done will not be called.
func (h *Host) Submit(id ShardID, c *Call) error {
	s, err := h.shard(id)
	if err != nil {
		return err
	}
	if h.readOnly.Load() && !c.FreesSpace {
		return ErrDiskFull
	}
	if needs := machine.LevelOf(c.Command); needs > h.level.Load() {
		return &LevelError{Needs: needs, Has: h.level.Load()}
	}
	return s.proposer.submit(c)
}

// Propose applies one command and waits for its answer. When ctx ends while
// the command is in line it was not applied; when it ends later the error is
// ErrOutcomeUnknown.
func (h *Host) Propose(ctx context.Context, id ShardID, tenant tenancy.TenantID, command *internalv1.Command) (proto.Message, error) {
	return Await(ctx, tenant, command, func(c *Call) error { return h.Submit(id, c) })
}
