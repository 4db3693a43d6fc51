package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"runtime/pprof"
	"strings"
	"testing"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"
)

// ways are how a node is set up without TLS and with it.
func ways(t *testing.T) map[string]func(*Config) {
	t.Helper()
	a := newAuthority(t)
	return map[string]func(*Config){
		"plain": nil,
		"tls":   func(cfg *Config) { a.secure(cfg, a.issue(nil)) },
	}
}

func TestMessagesArriveInOrder(t *testing.T) {
	t.Parallel()
	for name, setup := range ways(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newDirectory()
			a, b := startNode(t, dir, "a", setup), startNode(t, dir, "b", setup)
			for _, way := range []struct{ from, to *testNode }{{a, b}, {b, a}} {
				conn := way.from.to(way.to.cfg.NodeID)
				for i, size := range []int{0, 1, 100, readerBytes, 3 << 20, 9 << 20, 1} {
					sent := batch(uint64(i), bytes.Repeat([]byte{byte(i + 1)}, size))
					require.NoError(t, conn.SendMessageBatch(sent))
					got := receive(t, way.to.batches)
					require.True(t, bytes.Equal(encode(t, &sent), encode(t, &got)), "of %d bytes", size)
				}
				require.Equal(t, 1, way.from.metric("connections", "out", "messages"))
				require.Equal(t, 1, way.to.metric("connections", "in", "messages"))
				require.Equal(t, way.from.metric("sent_bytes_total", "messages"), way.to.metric("received_bytes_total", "messages"))
			}
		})
	}
}

func TestSnapshotArrives(t *testing.T) {
	t.Parallel()
	for name, setup := range ways(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newDirectory()
			a, b := startNode(t, dir, "a", setup), startNode(t, dir, "b", setup)
			conn := a.snapshotTo("b")
			const count = 4
			for i := range uint64(count) {
				sent := chunk(i, count, bytes.Repeat([]byte{byte(i)}, 2<<20))
				require.NoError(t, conn.SendChunk(sent))
				got := receive(t, b.chunks)
				require.True(t, bytes.Equal(sent.Data, got.Data), "chunk %d", i)
				sent.Data, got.Data = nil, nil
				require.Equal(t, sent, got)
			}
		})
	}
}

// The library takes a snapshot whose last chunk was sent as arrived, so that
// call must know.
func TestRefusedSnapshotIsNotDone(t *testing.T) {
	t.Parallel()
	dir := newDirectory()
	a, b := startNode(t, dir, "a", nil), startNode(t, dir, "b", nil)
	b.refuse = pb.Chunk.IsLastChunk
	conn := a.snapshotTo("b")
	require.NoError(t, conn.SendChunk(chunk(0, 2, []byte("x"))))
	require.ErrorContains(t, conn.SendChunk(chunk(1, 2, []byte("y"))), "wait until the snapshot is stored")
}

func TestNodeMayComeBackElsewhere(t *testing.T) {
	t.Parallel()
	dir := newDirectory()
	a, first := startNode(t, dir, "a", nil), startNode(t, dir, "b", nil)
	require.NoError(t, a.to("b").SendMessageBatch(batch(1, nil)))
	receive(t, first.batches)

	require.NoError(t, first.Close())
	require.Equal(t, reasonDial, a.refused("b").reason)

	second := startNode(t, dir, "b", nil)
	require.NotEqual(t, first.address, second.address)
	require.NoError(t, a.to("b").SendMessageBatch(batch(2, nil)))
	require.Equal(t, uint64(2), receive(t, second.batches).Requests[0].Term)
	require.Contains(t, a.log.String(), `msg="node is reached again" node_id=b`)
}

func TestConnectionsLeaveFromTheSource(t *testing.T) {
	t.Parallel()
	dir := newDirectory()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	dir.set("b", listener.Addr().String())
	a := startNode(t, dir, "a", func(cfg *Config) { cfg.Source = net.IPv4(127, 0, 0, 2) })
	from := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
		from <- host
		_ = conn.Close()
	}()
	require.Equal(t, reasonClosed, a.refused("b").reason)
	require.Equal(t, "127.0.0.2", receive(t, from))
}

// A send that waits for a node which takes nothing ends with the library's
// context, and a transport that is closed leaves nothing behind.
func TestStopWhileSending(t *testing.T) {
	t.Parallel()
	for name, setup := range ways(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			label := fmt.Sprintf("%q:%q", "test", t.Name())
			pprof.Do(t.Context(), pprof.Labels("test", t.Name()), func(ctx context.Context) {
				dir := newDirectory()
				a, b := startNode(t, dir, "a", setup), startNode(t, dir, "b", setup)
				stuck := make(chan struct{})
				b.onMessages = func(pb.MessageBatch) { <-stuck }
				ctx, cancel := context.WithCancel(ctx)
				conn, err := a.GetConnection(ctx, "b")
				require.NoError(t, err)
				sending := make(chan error, 1)
				started := make(chan struct{}, 1)
				go func() {
					for {
						if err := conn.SendMessageBatch(batch(1, make([]byte, 1<<20))); err != nil {
							sending <- err
							return
						}
						select {
						case started <- struct{}{}:
						default:
						}
					}
				}()
				receive(t, started)
				cancel()
				require.Error(t, receive(t, sending))
				conn.Close()
				close(stuck)
				require.NoError(t, a.Close())
				require.NoError(t, b.Close())
				require.NoError(t, b.Close(), "twice")
			})
			require.Eventually(t, func() bool {
				var profile strings.Builder
				err := pprof.Lookup("goroutine").WriteTo(&profile, 1)
				// What is left is this goroutine, after Do without its label.
				return err == nil && !strings.Contains(profile.String(), label)
			}, patience, patience/1000, "goroutines are left")
		})
	}
}

func TestWrongSetupsDoNotStart(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"one side of TLS": func(cfg *Config) { cfg.ServerTLS = &tls.Config{} },
		"no cluster":      func(cfg *Config) { cfg.ClusterID = "" },
		"long id":         func(cfg *Config) { cfg.NodeID = strings.Repeat("a", 65) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			cfg := Config{NodeID: "a", ClusterID: "c", Listener: listener}
			change(&cfg)
			n := newTransport(cfg, nil, nil, nil)
			require.ErrorContains(t, n.Start(), "the Raft port needs")
			require.NoError(t, n.Close())
		})
	}
}

func encode(t *testing.T, m pb.Marshaler) []byte {
	t.Helper()
	b, err := m.Marshal()
	require.NoError(t, err)
	return b
}
