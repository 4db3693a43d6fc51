package faultnet

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// chunkBytes and chunksMax bound what is under way on a connection, in each
	// direction; whoever sends more has to wait.
	chunkBytes = 16 << 10
	chunksMax  = 32
	// connectionsMax bounds the connections of a network.
	connectionsMax = 4096
	// dialTimeout is how long a node may take to accept a connection.
	dialTimeout = 5 * time.Second
)

// Relay opens a port in front of a node's and returns its address, which is what
// other nodes should be told. It ends with the network.
func (n *Network) Relay(t *testing.T, node int, target string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	n.mu.Lock()
	defer n.mu.Unlock()
	require.False(t, n.closed, "the network has ended")
	n.relays = append(n.relays, listener)
	n.work.Go(func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				n.accept(conn, node, target)
			}
		}
	})
	return listener.Addr().String()
}

// accept begins to relay a connection to a node.
func (n *Network) accept(conn net.Conn, to int, target string) {
	from, ok := nodeOf(conn.RemoteAddr())
	r := &relayed{dialer: conn, ended: make(chan struct{})}
	if !ok {
		r.reset() // nobody of this network
		return
	}
	r.forth, r.back = n.link(from, to), n.link(to, from)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || len(n.open) >= connectionsMax {
		r.reset()
		return
	}
	n.open[r] = struct{}{}
	n.work.Go(func() {
		r.run(target)
		r.reset() // whatever is left of it
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.open, r)
	})
}

// nodeOf is the node that an address belongs to.
func nodeOf(address net.Addr) (node int, ok bool) {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return 0, false
	}
	for node := range NodesMax {
		if tcp.IP.Equal(IP(node)) {
			return node, true
		}
	}
	return 0, false
}

// relayed is one connection: forth from the side that dialed, and back to it.
type relayed struct {
	dialer      net.Conn
	forth, back *link

	mu     sync.Mutex
	target net.Conn // nil until it was dialed
	over   bool
	ended  chan struct{}
}

// reset ends the connection on both sides at once. It may be called twice.
func (r *relayed) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	r.over = true
	close(r.ended)
	resetConn(r.dialer)
	resetConn(r.target)
}

func resetConn(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
		_ = tcp.Close()
	}
}

// run relays until both sides have ended, or one was reset.
func (r *relayed) run(target string) {
	for _, l := range []*link{r.forth, r.back} {
		c, changed := l.state()
		if c.Reset {
			return
		}
		if c.Cut {
			select {
			case <-changed:
			case <-r.ended:
			}
			return
		}
	}
	conn, err := (&net.Dialer{Timeout: dialTimeout}).Dial("tcp", target)
	if err != nil {
		return // the node is down
	}
	r.mu.Lock()
	if r.over {
		resetConn(conn)
	}
	r.target = conn
	r.mu.Unlock()
	var ways sync.WaitGroup
	ways.Go(func() { r.pump(conn, r.dialer, r.forth) })
	ways.Go(func() { r.pump(r.dialer, conn, r.back) })
	ways.Wait()
}

// chunk is bytes on their way.
type chunk struct {
	sent  time.Time
	bytes []byte
	// last is why no more come.
	last error
}

// pump carries what one side sends to the other, and its end.
func (r *relayed) pump(to, from net.Conn, over *link) {
	underWay := make(chan chunk, chunksMax)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(underWay)
		for {
			buf := make([]byte, chunkBytes)
			size, err := from.Read(buf)
			select {
			case underWay <- chunk{time.Now(), buf[:size], err}:
			case <-r.ended:
				return
			}
			if err != nil {
				return
			}
		}
	})
	defer reading.Wait()
	for c := range underWay {
		if !over.pass(c.sent, len(c.bytes), r.ended) {
			return
		}
		if _, err := to.Write(c.bytes); err != nil {
			r.reset()
			return
		}
		over.carried.Add(int64(len(c.bytes)))
		switch {
		case c.last == nil:
		case errors.Is(c.last, io.EOF):
			if tcp, ok := to.(*net.TCPConn); ok {
				_ = tcp.CloseWrite() // the other way may go on
			}
		default:
			r.reset()
		}
	}
}
