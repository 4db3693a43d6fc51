package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/raftio"
	"golang.org/x/time/rate"
)

// A Transport is the library's transport of one node. All methods may be called
// from several goroutines.
type Transport struct {
	cfg                  Config
	serverTLS, clientTLS *tls.Config
	metrics              *metrics
	onMessages           raftio.MessageHandler
	onChunk              raftio.ChunkHandler
	snapshots            *rate.Limiter // nil without a bound
	complaints           complaints

	stop    context.CancelFunc
	serving sync.WaitGroup

	mu       sync.Mutex
	stopping bool
	taken    map[net.Conn]struct{} // from others; Invariant: at most connectionsMax
}

var _ raftio.ITransport = (*Transport)(nil)

func newTransport(cfg Config, m *metrics, messages raftio.MessageHandler, chunks raftio.ChunkHandler) *Transport {
	return &Transport{
		cfg: cfg, metrics: m, onMessages: messages, onChunk: chunks,
		serverTLS: strictServer(cfg.ServerTLS), clientTLS: strictClient(cfg.ClientTLS),
		snapshots:  newSnapshotLimiter(cfg.SnapshotBytesPerSecond),
		complaints: complaints{log: cfg.Log, told: make(map[complaint]time.Time)},
		stop:       func() {},
		taken:      make(map[net.Conn]struct{}),
	}
}

// Name implements raftio.ITransport.
func (t *Transport) Name() string { return "flotilla" }

// Start begins to take connections.
func (t *Transport) Start() error {
	if (t.serverTLS == nil) != (t.clientTLS == nil) {
		return errors.New("the Raft port needs both sides of TLS, or neither")
	}
	for _, id := range []string{t.cfg.ClusterID, t.cfg.NodeID} {
		if id == "" || len(id) > idBytesMax {
			return errors.New("the Raft port needs ids of 1 to 64 bytes")
		}
	}
	ctx, stop := context.WithCancel(context.Background()) //nolint:forbidigo // the library gives none: Close ends it
	t.stop = stop
	t.serving.Go(func() { t.accept(ctx) })
	return nil
}

// Close ends the port and all connections that were taken, and waits for what
// serves them. Those that were made end with the library's context.
func (t *Transport) Close() error {
	t.stop()
	err := t.cfg.Listener.Close()
	t.mu.Lock()
	t.stopping = true
	for conn := range t.taken {
		_ = conn.Close()
	}
	t.mu.Unlock()
	t.serving.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// accept takes connections until the port is closed.
func (t *Transport) accept(ctx context.Context) {
	const pauseMax = time.Second
	pause := 5 * time.Millisecond
	for {
		conn, err := t.cfg.Listener.Accept()
		switch {
		case err == nil:
			pause = 5 * time.Millisecond
			t.take(ctx, conn)
			continue
		case ctx.Err() != nil:
			return
		case errors.Is(err, net.ErrClosed):
			t.cfg.Log.Error("the raft port was closed: other nodes cannot reach this one", "err", err)
			return
		}
		// The process has too many files open, or the like.
		t.cfg.Log.Warn("the raft port cannot take a connection", "err", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		pause = min(2*pause, pauseMax)
	}
}

// take serves a connection, if there is room for it.
func (t *Transport) take(ctx context.Context, conn net.Conn) {
	if !t.keep(conn) {
		t.metrics.refused(reasonFull)
		_ = conn.Close()
		return
	}
	t.serving.Go(func() {
		defer t.release(conn)
		t.serve(ctx, conn)
	})
}

func (t *Transport) keep(conn net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopping || len(t.taken) >= connectionsMax {
		return false
	}
	t.taken[conn] = struct{}{}
	return true
}

func (t *Transport) release(conn net.Conn) {
	_ = conn.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.taken, conn)
}
