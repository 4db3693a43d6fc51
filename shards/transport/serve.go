package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	// handshakeTimeout is how long a connection may take until both sides know
	// each other, TLS included.
	handshakeTimeout = 5 * time.Second
	// writeTimeout is how long the other side may take nothing of what is sent.
	writeTimeout = 10 * time.Second
	// stallTimeout is how long a frame that has begun may pause.
	stallTimeout = 10 * time.Second
	// The library ends a connection for messages after a minute without any, and
	// keeps a snapshot that has begun for 15 minutes.
	messagesIdle = 2 * time.Minute
	snapshotIdle = 15 * time.Minute
	// lingerBytesMax is how much of a refused side is read until it has heard why.
	lingerBytesMax = 16 << 10
)

// serve takes what another node sends on a connection, until it ends.
func (t *Transport) serve(ctx context.Context, raw net.Conn) {
	tune(raw)
	conn, h, err := t.receive(ctx, raw)
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		t.metrics.refused(reasonOf(err))
		t.cfg.Log.Debug("connection refused", "address", raw.RemoteAddr().String(), "err", err)
		linger(raw)
		return
	}
	open := t.metrics.open(directionIn, h.kind)
	open.Inc()
	defer open.Dec()
	switch h.kind {
	case kindMessages:
		err = t.serveMessages(conn)
	case kindSnapshot:
		err = t.serveSnapshot(conn)
	}
	if err != nil && ctx.Err() == nil {
		t.cfg.Log.Debug("connection ended", "node_id", h.from, "address", raw.RemoteAddr().String(), "kind", h.kind.String(), "err", err)
	}
}

// receive shakes hands with the side that dialed.
func (t *Transport) receive(ctx context.Context, raw net.Conn) (net.Conn, hello, error) {
	if err := raw.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, hello{}, err
	}
	conn := raw
	if t.serverTLS != nil {
		secure := tls.Server(raw, t.serverTLS)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, hello{}, &tlsError{err}
		}
		conn = secure
	}
	h, err := readHello(conn)
	if err == nil {
		err = t.judge(h)
	} else if other, ok := errors.AsType[*versionError](err); ok {
		err = &refusal{otherVersion, fmt.Sprintf("it speaks version %d of the Raft port's protocol, and this node version %d", version, other.theirs)}
	}
	refused, isRefusal := errors.AsType[*refusal](err)
	if err != nil && !isRefusal {
		return nil, hello{}, err
	}
	reply := answer{verdict: welcome}
	if isRefusal {
		reply = answer{verdict: refused.verdict, words: refused.words}
	}
	if _, writeErr := conn.Write(reply.encode()); writeErr != nil {
		err = errors.Join(err, writeErr)
	}
	if err != nil {
		return nil, hello{}, err
	}
	return conn, h, conn.SetDeadline(time.Time{})
}

// judge returns why a hello is not welcome, in words for the side that dialed.
func (t *Transport) judge(h hello) error {
	switch {
	case h.cluster != t.cfg.ClusterID:
		return &refusal{otherCluster, fmt.Sprintf("it belongs to cluster %q, and this node to %q", t.cfg.ClusterID, h.cluster)}
	case h.to != t.cfg.NodeID:
		return &refusal{otherNode, fmt.Sprintf("you reached node %q, not %q", t.cfg.NodeID, h.to)}
	case h.kind != kindMessages && h.kind != kindSnapshot:
		return &refusal{unknownKind, fmt.Sprintf("it does not know connections of %s", h.kind)}
	}
	return nil
}

func (t *Transport) serveMessages(conn net.Conn) error {
	frames := newFrameReader(conn, batchBytesMax, messagesIdle)
	received := t.metrics.received(kindMessages)
	for {
		payload, err := frames.next()
		if err != nil {
			return t.ended(err)
		}
		received.Add(float64(frameHeaderBytes + len(payload)))
		batch, err := decodeBatch(payload)
		if err != nil {
			return t.ended(err)
		}
		t.onMessages(batch)
	}
}

func (t *Transport) serveSnapshot(conn net.Conn) error {
	frames := newFrameReader(conn, chunkBytesMax, snapshotIdle)
	received := t.metrics.received(kindSnapshot)
	for {
		payload, err := frames.next()
		if err != nil {
			return t.ended(err)
		}
		received.Add(float64(frameHeaderBytes + len(payload)))
		chunk, err := decodeChunk(payload)
		if err != nil {
			return t.ended(err)
		}
		if !t.onChunk(chunk) {
			return errChunkRefused
		}
		if !chunk.IsLastChunk() {
			continue
		}
		if err := conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if _, err := conn.Write([]byte{snapshotDone}); err != nil {
			return err
		}
	}
}

// ended counts what ended a connection if it is damage, and forgets an end
// between two frames.
func (t *Transport) ended(err error) error {
	if isDamage(err) {
		t.metrics.badFrames.Inc()
		return err
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// isDamage tells what should never arrive from a connection that broke.
func isDamage(err error) bool {
	if errors.Is(err, errMalformed) {
		return true // whatever the decoder says
	}
	_, network := errors.AsType[net.Error](err)
	return !network && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, net.ErrClosed)
}

// linger lets the side that was refused hear why: were the connection closed
// while there is something to read, it might find it reset instead. The
// deadline of the handshake still holds.
func linger(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, conn, lingerBytesMax)
	}
}
