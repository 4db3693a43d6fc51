package transport

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for what should come at once.
const patience = 10 * time.Second

// directory is where nodes are.
type directory struct {
	mu        sync.Mutex
	addresses map[string]string
}

func newDirectory() *directory { return &directory{addresses: make(map[string]string)} }

func (d *directory) set(node, address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addresses[node] = address
}

func (d *directory) resolve(node string) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	address, ok := d.addresses[node]
	return address, ok
}

// testNode is one side of a test.
type testNode struct {
	*Transport
	t       *testing.T
	reg     *prometheus.Registry
	address string
	log     *testLog
	batches chan pb.MessageBatch
	chunks  chan pb.Chunk
	// refuse says which chunks are refused; nil is none.
	refuse func(pb.Chunk) bool
}

// startNode starts a node of cluster "c", which change may make another.
func startNode(t *testing.T, dir *directory, id string, change func(*Config)) *testNode {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	n := &testNode{
		t: t, reg: prometheus.NewRegistry(), address: listener.Addr().String(), log: &testLog{},
		batches: make(chan pb.MessageBatch, 64), chunks: make(chan pb.Chunk, 64),
	}
	cfg := Config{
		NodeID: id, ClusterID: "c", Listener: listener, Resolve: dir.resolve,
		Log: slog.New(slog.NewTextHandler(n.log, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	factory := New(cfg, n.reg)
	require.True(t, factory.Validate(id))
	made, ok := factory.Create(config.NodeHostConfig{}, n.onBatch, n.onChunk).(*Transport)
	require.True(t, ok)
	n.Transport = made
	require.NoError(t, n.Start())
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	dir.set(id, n.address)
	return n
}

func (n *testNode) onBatch(b pb.MessageBatch) { n.batches <- b }

func (n *testNode) onChunk(c pb.Chunk) bool {
	if n.refuse != nil && n.refuse(c) {
		return false
	}
	n.chunks <- c
	return true
}

// to connects to another node, for messages.
func (n *testNode) to(id string) raftio.IConnection {
	n.t.Helper()
	conn, err := n.GetConnection(n.t.Context(), id)
	require.NoError(n.t, err)
	n.t.Cleanup(conn.Close)
	return conn
}

// snapshotTo connects to another node, for a snapshot.
func (n *testNode) snapshotTo(id string) raftio.ISnapshotConnection {
	n.t.Helper()
	conn, err := n.GetSnapshotConnection(n.t.Context(), id)
	require.NoError(n.t, err)
	n.t.Cleanup(conn.Close)
	return conn
}

// refused connects to another node, which must go wrong.
func (n *testNode) refused(id string) *ConnectError {
	n.t.Helper()
	conn, err := n.GetConnection(n.t.Context(), id)
	if err == nil {
		conn.Close()
	}
	failed, ok := errors.AsType[*ConnectError](err)
	require.True(n.t, ok, "%v", err)
	return failed
}

// metric is a figure of the transport, by the values of its labels.
func (n *testNode) metric(name string, labels ...string) int {
	n.t.Helper()
	families, err := n.reg.Gather()
	require.NoError(n.t, err)
	for _, family := range families {
		if family.GetName() != "flotilla_transport_"+name {
			continue
		}
		for _, m := range family.GetMetric() {
			var values []string
			for _, label := range m.GetLabel() {
				values = append(values, label.GetValue())
			}
			if slices.Equal(values, labels) {
				return int(m.GetCounter().GetValue() + m.GetGauge().GetValue())
			}
		}
	}
	return 0
}

// eventually waits until a figure has a value.
func (n *testNode) eventually(name string, value int, labels ...string) {
	n.t.Helper()
	require.Eventually(n.t, func() bool { return n.metric(name, labels...) == value },
		patience, patience/1000, "%s %v: %d", name, labels, n.metric(name, labels...))
}

// receive is what comes out of a channel soon.
func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case v := <-ch:
		return v
	case <-ctx.Done():
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

// testLog is the text of a log.
type testLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *testLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// batch is a batch of messages, number of which tells it from others.
func batch(number uint64, command []byte) pb.MessageBatch {
	return pb.MessageBatch{
		BinVer: 210, DeploymentId: 1, SourceAddress: "a",
		Requests: []pb.Message{
			{Type: pb.Heartbeat, To: 2, From: 1, ShardID: 3, Term: number},
			{
				Type: pb.Replicate, To: 2, From: 1, ShardID: 3, Term: number, LogIndex: number,
				Entries: []pb.Entry{{Term: number, Index: number + 1, Cmd: command}, {Term: number, Index: number + 2}},
			},
		},
	}
}

// chunk is one of the count chunks of a snapshot.
func chunk(id, count uint64, data []byte) pb.Chunk {
	return pb.Chunk{
		ShardID: 3, ReplicaID: 2, From: 1, ChunkId: id, ChunkCount: count, ChunkSize: uint64(len(data)),
		Data: data, Index: 9, Term: 4, BinVer: 210, DeploymentId: 1, Filepath: "snapshot",
		Membership: pb.Membership{Addresses: map[uint64]string{1: "a", 2: "b"}, Removed: map[uint64]bool{7: true}},
	}
}
