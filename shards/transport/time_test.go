package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// pipes is a port without a network, so that time can be a test's own.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes {
	return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.conns <- far
	return near
}

// inBubble starts a node "b" whose port is pipes.
func inBubble(t *testing.T, change func(*testNode, *Config)) (*testNode, *pipes) {
	t.Helper()
	port := newPipes()
	n := &testNode{t: t, reg: prometheus.NewRegistry(), batches: make(chan pb.MessageBatch, 64), chunks: make(chan pb.Chunk, 64)}
	cfg := Config{NodeID: "b", ClusterID: "c", Listener: port}
	if change != nil {
		change(n, &cfg)
	}
	factory := New(cfg, n.reg)
	n.Transport = newTransport(factory.cfg, factory.metrics, n.onBatch, n.onChunk)
	require.NoError(t, n.Start())
	return n, port
}

// lasted is how long it takes until the other side closes a connection.
func lasted(t *testing.T, conn net.Conn) time.Duration {
	t.Helper()
	begun := time.Now()
	_, err := io.Copy(io.Discard, conn)
	require.NoError(t, err)
	return time.Since(begun)
}

// X1: whoever says nothing, or half of it, is cut off soon.
func TestHandshakesTakeBoundedTime(t *testing.T) {
	t.Parallel()
	good := hello{kind: kindMessages, cluster: "c", from: "a", to: "b"}.encode()
	ca := newAuthority(t)
	own := ca.issue(nil)
	for name, test := range map[string]struct {
		says   []byte
		secure bool
	}{
		"nothing":       {},
		"half":          {says: good[:20]},
		"all but one":   {says: good[:len(good)-1]},
		"no TLS at all": {secure: true},
		"half of TLS":   {says: []byte("\x16\x03\x01\x02\x00\x01\x00"), secure: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, port := inBubble(t, func(_ *testNode, cfg *Config) {
					if test.secure {
						ca.secure(cfg, own)
					}
				})
				conn := port.dial()
				send(t, conn, test.says)
				require.Equal(t, handshakeTimeout, lasted(t, conn))
				synctest.Wait()
				require.Equal(t, 1, b.metric("refused_handshakes_total", "timeout"))
				require.NoError(t, b.Close())
			})
		})
	}
}

func TestPortHasRoomForSoMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, port := inBubble(t, nil)
		var conns []net.Conn
		for range connectionsMax {
			conns = append(conns, port.dial())
		}
		require.Zero(t, lasted(t, port.dial()), "one too many")
		require.Equal(t, 1, b.metric("refused_handshakes_total", "full"))
		require.NoError(t, conns[0].Close())
		synctest.Wait()
		require.Equal(t, handshakeTimeout, lasted(t, port.dial()), "there is room again")
		require.NoError(t, b.Close())
	})
}

func TestQuietConnectionsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, port := inBubble(t, nil)
		sent := batch(1, []byte("x"))
		frame := frameOf(encode(t, &sent))
		shake := func(k kind) net.Conn {
			conn := port.dial()
			send(t, conn, hello{kind: k, cluster: "c", from: "a", to: "b"}.encode())
			_, err := readAnswer(conn)
			require.NoError(t, err)
			return conn
		}
		conn := shake(kindMessages)
		for range 3 {
			<-time.After(messagesIdle - 1)
			send(t, conn, frame)
			<-b.batches
		}
		require.Equal(t, messagesIdle, lasted(t, conn))
		require.Equal(t, snapshotIdle, lasted(t, shake(kindSnapshot)))

		conn = shake(kindMessages)
		send(t, conn, frame[:frameHeaderBytes+1])
		require.Equal(t, stallTimeout, lasted(t, conn))
		require.Zero(t, b.metric("bad_frames_total"))
		require.NoError(t, b.Close())
	})
}

// X4: a node that is stopped takes nothing, and whoever sends to it learns so.
func TestSendingTakesBoundedTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		s := newSender(t.Context(), near, func() bool { return true }, newMetrics(prometheus.NewRegistry()), kindSnapshot)
		begun := time.Now()
		require.ErrorIs(t, (&messageConn{sender: s}).SendMessageBatch(batch(1, nil)), os.ErrDeadlineExceeded)
		require.Equal(t, writeTimeout, time.Since(begun))

		go func() { _, _ = io.Copy(io.Discard, far) }() // and never says that it is done
		begun = time.Now()
		require.NoError(t, (&snapshotConn{s}).SendChunk(chunk(0, 2, nil)))
		require.Zero(t, time.Since(begun))
		require.ErrorIs(t, (&snapshotConn{s}).SendChunk(chunk(1, 2, nil)), os.ErrDeadlineExceeded)
		require.Equal(t, doneTimeout, time.Since(begun))
		s.Close()
	})
}

// All snapshots of a node share one bound, and each of them moves all the time.
func TestSnapshotsShareABound(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		bound, bytes int64
		snapshots    int
		takes        time.Duration
	}{
		"one":                  {bound: 1 << 20, bytes: 2 << 20, snapshots: 1, takes: 2 * time.Second},
		"four":                 {bound: 1 << 20, bytes: 2 << 20, snapshots: 4, takes: 8 * time.Second},
		"as many as there are": {bound: 1 << 20, bytes: 1 << 20, snapshots: 64, takes: 64 * time.Second},
		"less than the least":  {bound: 1, bytes: 1 << 20, snapshots: 1, takes: 16 * time.Second},
		"no bound":             {bytes: 2 << 20, snapshots: 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limiter, m := newSnapshotLimiter(test.bound), newMetrics(prometheus.NewRegistry())
				var sending sync.WaitGroup
				begun := time.Now()
				for range test.snapshots {
					near, far := net.Pipe()
					s := newSender(t.Context(), near, func() bool { return true }, m, kindSnapshot)
					s.limiter = limiter
					sending.Go(func() {
						defer s.Close()
						require.NoError(t, (&snapshotConn{s}).SendChunk(chunk(0, 2, make([]byte, test.bytes))))
					})
					sending.Go(func() {
						frames := newFrameReader(far, chunkBytesMax, snapshotIdle)
						_, err := frames.next()
						require.NoError(t, err, "it stalls")
					})
				}
				sending.Wait()
				require.InDelta(t, test.takes.Seconds(), time.Since(begun).Seconds(), 0.1)
			})
		})
	}
}

func TestThrottledSendEndsWithTheLibrary(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s := newSender(ctx, near, func() bool { return true }, newMetrics(prometheus.NewRegistry()), kindSnapshot)
		defer s.Close()
		s.limiter = newSnapshotLimiter(1)
		begun := time.Now()
		require.ErrorIs(t, (&snapshotConn{s}).SendChunk(chunk(0, 2, make([]byte, 2<<20))), context.Canceled)
		require.Equal(t, time.Second, time.Since(begun))
	})
}

// The process may have too many files open for a while.
func TestPortOutlivesErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		flaky := &flakyPort{pipes: newPipes(), failures: 10}
		b, _ := inBubble(t, func(_ *testNode, cfg *Config) { cfg.Listener = flaky })
		begun := time.Now()
		conn := flaky.dial()
		require.Less(t, time.Since(begun), 10*time.Second)
		require.Greater(t, time.Since(begun), time.Second, "it must not spin")
		require.Equal(t, handshakeTimeout, lasted(t, conn))
		require.NoError(t, b.Close())

		flaky = &flakyPort{pipes: newPipes(), failures: 1 << 30}
		b, _ = inBubble(t, func(_ *testNode, cfg *Config) { cfg.Listener = flaky })
		require.NoError(t, b.Close(), "also while it waits")
	})
}

type flakyPort struct {
	*pipes
	failures int
}

func (p *flakyPort) Accept() (net.Conn, error) {
	if p.failures > 0 {
		p.failures--
		return nil, errors.New("too many open files")
	}
	return p.pipes.Accept()
}
