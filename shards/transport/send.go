package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

const (
	// pieceBytes is how much is written at once, each piece in writeTimeout: a
	// large batch may take its time on a slow network.
	pieceBytes = 1 << 20
	// doneTimeout is how long the other side may take to store the end of a
	// snapshot.
	doneTimeout = time.Minute

	snapshotRateMin = 64 << 10
)

var errChunkRefused = errors.New("a chunk of a snapshot was refused")

// sender writes the frames of a connection. It is not for concurrent use, nor
// are those made of it: the library uses each from one goroutine.
type sender struct {
	conn    net.Conn
	release func() bool
	stopped <-chan struct{} // of the library's context
	limiter *rate.Limiter   // nil without a bound
	open    prometheus.Gauge
	sent    prometheus.Counter
	buf     []byte
}

func newSender(ctx context.Context, conn net.Conn, release func() bool, m *metrics, k kind) *sender {
	s := &sender{conn: conn, release: release, stopped: ctx.Done(), open: m.open(directionOut, k), sent: m.sent(k)}
	s.open.Inc()
	return s
}

// Close ends the connection.
func (s *sender) Close() {
	s.release()
	_ = s.conn.Close()
	s.open.Dec()
}

// frame is room for a frame whose payload has at most so many bytes.
func (s *sender) frame(payload int) []byte {
	if cap(s.buf) > keepBytesMax {
		s.buf = nil
	}
	if need := frameHeaderBytes + payload; need > cap(s.buf) {
		s.buf = make([]byte, max(need, 2*cap(s.buf)))
	}
	return s.buf[:frameHeaderBytes+payload]
}

// send seals a frame and writes it.
func (s *sender) send(frame []byte, bytesMax int) error {
	if size := len(frame) - frameHeaderBytes; size == 0 || size > bytesMax {
		return &frameSizeError{size: size, max: bytesMax}
	}
	sealFrame(frame)
	piece := pieceBytes
	if s.limiter != nil {
		piece = s.limiter.Burst()
	}
	for len(frame) > 0 {
		n := min(len(frame), piece)
		if err := s.throttle(n); err != nil {
			return err
		}
		if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		n, err := s.conn.Write(frame[:n])
		s.sent.Add(float64(n))
		if err != nil {
			return err
		}
		frame = frame[n:]
	}
	return nil
}

// throttle waits until so many bytes may leave.
func (s *sender) throttle(n int) error {
	if s.limiter == nil {
		return nil
	}
	delay := s.limiter.ReserveN(time.Now(), n).Delay()
	if delay <= 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.stopped:
		return context.Canceled
	}
}

// newSnapshotLimiter bounds what all snapshots of a node take. They take turns of
// a hundredth of a second, so that each moves while many share the bound, and no
// side takes it for one that hangs.
func newSnapshotLimiter(bytesPerSecond int64) *rate.Limiter {
	if bytesPerSecond <= 0 {
		return nil
	}
	bytesPerSecond = max(bytesPerSecond, snapshotRateMin)
	turn := min(max(bytesPerSecond/100, 4<<10), pieceBytes)
	return rate.NewLimiter(rate.Limit(bytesPerSecond), int(turn))
}

// snapshotConn is a connection for a snapshot. It implements
// raftio.ISnapshotConnection.
type snapshotConn struct{ *sender }

// SendChunk implements raftio.ISnapshotConnection. The last chunk returns when
// the other side has the whole snapshot: the library takes what was sent as
// arrived. After an error the connection is good for nothing.
func (c *snapshotConn) SendChunk(chunk pb.Chunk) error {
	frame := c.frame(chunk.Size())
	n, err := chunk.MarshalTo(frame[frameHeaderBytes:])
	if err != nil {
		return fmt.Errorf("encode a chunk of a snapshot: %w", err)
	}
	if err := c.send(frame[:frameHeaderBytes+n], chunkBytesMax); err != nil {
		return err
	}
	if !chunk.IsLastChunk() {
		return nil
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(doneTimeout)); err != nil {
		return err
	}
	var reply [1]byte
	if _, err := c.conn.Read(reply[:]); err != nil {
		return fmt.Errorf("wait until the snapshot is stored: %w", err)
	}
	if reply[0] != snapshotDone {
		return errChunkRefused
	}
	return nil
}
