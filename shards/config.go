package shards

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/lni/dragonboat/v4/config"

	"github.com/flotillakv/flotilla/shards/fair"
	"github.com/flotillakv/flotilla/shards/watch"
)

// Config is how a node hosts shards. Zero fields take the defaults.
type Config struct {
	// NodeID is the node's UUID, from its identity file. Raft addresses name
	// nodes by it, so that a node may come back under another address.
	NodeID string
	// Dir is the directory of the Raft logs.
	Dir string
	// Transport carries what replicas say to those of other nodes, which it finds
	// by their ids. Default: this node has no peers.
	Transport config.TransportFactory

	// RTT is the tick of the Raft groups: see electionTicks. Default 30 ms.
	RTT time.Duration
	// LogStores is how many log stores, and threads that write them, the node
	// has; each syncs by itself. It can never change on a deployed node, so
	// it is kept in the identity file. Default 1: one sync serves all shards.
	LogStores uint64
	// SnapshotEntries is after how many log entries the state is flushed and
	// the log before it dropped. Default 16,384.
	SnapshotEntries uint64
	// LogBytesMax is after how many bytes of log entries the same happens.
	// Default 256 MiB.
	LogBytesMax int64
	// InMemoryLogBytesMax bounds the entries that a shard holds in memory
	// before they are applied. Default 64 MiB.
	InMemoryLogBytesMax uint64

	// InFlightMax is how many entries a shard has on their way at once.
	// Default 4.
	InFlightMax int
	// EntryCommandsMax is how many commands one entry holds at most.
	// Default 512.
	EntryCommandsMax int
	// EntryBytesMax is how many bytes of commands one entry holds at most,
	// unless a single command is larger. Default 1 MiB.
	EntryBytesMax int
	// Queue bounds what waits for a shard.
	Queue fair.Config
	// ProposeTimeout is after how long the outcome of an entry counts as
	// unknown. Default 10 s.
	ProposeTimeout time.Duration

	// LongReadsMax is how many reads that visit many keys run at a time, of each
	// tenant at most one. Default one less than there are processors.
	LongReadsMax int

	// Watch bounds what waits for watches.
	Watch watch.Config

	// CompactionAge is how long old revisions stay readable: namespaces are
	// compacted by age. Negative keeps them for ever. Default 1 h.
	CompactionAge time.Duration
	// MaintenanceInterval is how often a shard's leader looks for revisions
	// to compact and to purge. Default 1 s.
	MaintenanceInterval time.Duration
}

// WithDefaults fills the zero fields.
func (c Config) WithDefaults() Config {
	c.RTT = cmp.Or(c.RTT, 30*time.Millisecond)
	c.LogStores = cmp.Or(c.LogStores, 1)
	c.SnapshotEntries = cmp.Or(c.SnapshotEntries, 16_384)
	c.LogBytesMax = cmp.Or(c.LogBytesMax, 256<<20)
	c.InMemoryLogBytesMax = cmp.Or(c.InMemoryLogBytesMax, 64<<20)
	c.InFlightMax = cmp.Or(c.InFlightMax, 4)
	c.EntryCommandsMax = cmp.Or(c.EntryCommandsMax, 512)
	c.EntryBytesMax = cmp.Or(c.EntryBytesMax, 1<<20)
	c.ProposeTimeout = cmp.Or(c.ProposeTimeout, 10*time.Second)
	c.LongReadsMax = cmp.Or(c.LongReadsMax, max(1, runtime.GOMAXPROCS(0)-1))
	c.CompactionAge = cmp.Or(c.CompactionAge, time.Hour)
	c.MaintenanceInterval = cmp.Or(c.MaintenanceInterval, time.Second)
	c.Queue = c.Queue.WithDefaults()
	if c.Transport == nil {
		c.Transport = loneTransport{}
	}
	return c
}

// Validate names every field that cannot be.
func (c Config) Validate() error {
	var errs []error
	if c.NodeID == "" {
		errs = append(errs, errors.New("the node id is missing"))
	}
	if c.Dir == "" {
		errs = append(errs, errors.New("the directory of the Raft logs is missing"))
	}
	if c.RTT < time.Millisecond || c.RTT > time.Second {
		errs = append(errs, fmt.Errorf("the Raft tick of %v is not between 1 ms and 1 s", c.RTT))
	}
	if c.ProposeTimeout < 10*c.RTT {
		errs = append(errs, fmt.Errorf("the proposal timeout of %v is less than ten Raft ticks", c.ProposeTimeout))
	}
	return errors.Join(errs...)
}
