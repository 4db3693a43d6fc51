package transport

import (
	"net"
	"time"
)

// A node whose machine is gone says nothing: its connections end after this long
// without a sign of it.
const (
	keepAliveIdle     = 10 * time.Second
	keepAliveInterval = 5 * time.Second
	keepAliveCount    = 3
	// unackedMax is the same while there is something to send. Without it the
	// kernel tries for a quarter of an hour, at ever longer intervals, and a
	// network that is whole again stays unused until the next.
	unackedMax = 10 * time.Second
)

// tune sets up a connection so that one that is dead is noticed. A kernel that
// refuses leaves it as it is.
func tune(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
	})
	boundUnacked(tcp, unackedMax)
}
