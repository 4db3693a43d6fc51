package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/lni/dragonboat/v4/raftio"
)

// dialTimeout is how long it may take until a node takes a connection.
const dialTimeout = 5 * time.Second

// GetConnection implements raftio.ITransport: it connects to a node, for
// messages. The connection lasts no longer than ctx. Its error is a
// *ConnectError.
func (t *Transport) GetConnection(ctx context.Context, target string) (raftio.IConnection, error) {
	s, err := t.connect(ctx, target, kindMessages)
	if err != nil {
		return nil, err
	}
	return newMessageConn(ctx, t, target, s), nil
}

// GetSnapshotConnection implements raftio.ITransport: it connects to a node, for
// one snapshot. The connection lasts no longer than ctx. Its error is a
// *ConnectError.
func (t *Transport) GetSnapshotConnection(ctx context.Context, target string) (raftio.ISnapshotConnection, error) {
	s, err := t.connect(ctx, target, kindSnapshot)
	if err != nil {
		return nil, err
	}
	s.limiter = t.snapshots
	return &snapshotConn{s}, nil
}

func (t *Transport) connect(ctx context.Context, target string, k kind) (*sender, error) {
	address, ok := t.cfg.Resolve(target)
	if !ok {
		return nil, t.unreached(target, "", reasonAddress, errors.New("no address of it is known"))
	}
	raw, err := t.dial(ctx, address)
	if err != nil {
		why := reasonDial
		if ctx.Err() != nil {
			why = reasonStopping
		}
		return nil, t.unreached(target, address, why, err)
	}
	// The library's context ends when it stops: then whoever waits for a slow
	// node must not hold it up (X4).
	release := context.AfterFunc(ctx, func() { _ = raw.Close() })
	conn, err := t.introduce(ctx, raw, address, hello{kind: k, cluster: t.cfg.ClusterID, from: t.cfg.NodeID, to: target})
	if err != nil {
		release()
		_ = raw.Close()
		why := reasonOf(err)
		if ctx.Err() != nil {
			why = reasonStopping
		}
		return nil, t.unreached(target, address, why, err)
	}
	t.complaints.reached(target, address)
	return newSender(ctx, conn, release, t.metrics, k), nil
}

func (t *Transport) dial(ctx context.Context, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	if t.cfg.Source != nil {
		dialer.LocalAddr = &net.TCPAddr{IP: t.cfg.Source}
	}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	tune(conn)
	return conn, nil
}

// introduce shakes hands with the side that was dialed.
func (t *Transport) introduce(ctx context.Context, raw net.Conn, address string, h hello) (net.Conn, error) {
	if err := raw.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	conn := raw
	if t.clientTLS != nil {
		cfg, err := clientFor(t.clientTLS, address)
		if err != nil {
			return nil, err
		}
		secure := tls.Client(raw, cfg)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, &tlsError{err}
		}
		conn = secure
	}
	if _, err := conn.Write(h.encode()); err != nil {
		return nil, fmt.Errorf("say hello: %w", err)
	}
	reply, err := readAnswer(conn)
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if reply.verdict != welcome {
		return nil, &refusal{verdict: reply.verdict, words: reply.words}
	}
	return conn, conn.SetDeadline(time.Time{})
}

// unreached counts and tells why a node is not reached.
func (t *Transport) unreached(target, address string, why reason, err error) error {
	t.metrics.unreached(why)
	failed := &ConnectError{NodeID: target, Address: address, Err: err, reason: why}
	if why != reasonStopping {
		t.complaints.tell(failed, time.Now())
	}
	return failed
}
