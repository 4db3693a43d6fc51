package transport

import (
	"context"
	"fmt"

	pb "github.com/lni/dragonboat/v4/raftpb"
)

// messageConn is a connection for messages. It implements raftio.IConnection.
//
// A node that follows may have nothing to send to another one for long. If that one
// ends meanwhile and starts again, what is written first to the connection of before
// is lost without an error, and the next that is written is lost with one, after which
// the library holds back everything for half a second: votes among it, just when they
// are needed. So the connection notices that its other side has gone, and is made
// again before it is written to.
type messageConn struct {
	*sender
	transport *Transport
	ctx       context.Context //nolint:containedctx // the library's, which it gives once
	target    string
	gone      <-chan struct{} // closed when the other side has ended the connection
}

func newMessageConn(ctx context.Context, t *Transport, target string, s *sender) *messageConn {
	return &messageConn{sender: s, transport: t, ctx: ctx, target: target, gone: s.watch()}
}

// watch closes what it returns when the connection ends, on either side. Nothing
// comes back on a connection for messages, so that what comes ends it too.
func (s *sender) watch() <-chan struct{} {
	gone := make(chan struct{})
	go func() { // ends with the connection
		defer close(gone)
		var b [1]byte
		_, _ = s.conn.Read(b[:])
	}()
	return gone
}

// SendMessageBatch implements raftio.IConnection. After an error the connection
// is good for nothing.
func (c *messageConn) SendMessageBatch(batch pb.MessageBatch) error {
	select {
	case <-c.gone:
		if err := c.reconnect(); err != nil {
			return err
		}
	default:
	}
	frame := c.frame(batch.SizeUpperLimit())
	n, err := batch.MarshalTo(frame[frameHeaderBytes:])
	if err != nil {
		return fmt.Errorf("encode a batch of messages: %w", err)
	}
	return c.send(frame[:frameHeaderBytes+n], batchBytesMax)
}

// reconnect makes the connection again, once.
func (c *messageConn) reconnect() error {
	s, err := c.transport.connect(c.ctx, c.target, kindMessages)
	if err != nil {
		return err
	}
	c.Close()
	c.sender, c.gone = s, s.watch()
	return nil
}
