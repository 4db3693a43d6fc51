package faultnet

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pair is a connection over a network: node 0 has dialed node 1.
type pair struct {
	net     *Network
	address string // of the relay
	from    *net.TCPConn
	to      *net.TCPConn
	accept  func() *net.TCPConn
}

func newPair(t *testing.T) *pair {
	t.Helper()
	if !Supported() {
		t.Skip("this system has no loopback address for each node")
	}
	listener, err := net.Listen("tcp", IP(1).String()+":0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	p := &pair{net: New(t)}
	p.address = p.net.Relay(t, 1, listener.Addr().String())
	accepted := make(chan net.Conn, 16)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	p.accept = func() *net.TCPConn {
		t.Helper()
		select {
		case conn := <-accepted:
			t.Cleanup(func() { _ = conn.Close() })
			tcp, _ := conn.(*net.TCPConn)
			return tcp
		case <-time.After(10 * time.Second):
			require.FailNow(t, "no connection comes")
			return nil
		}
	}
	p.from = p.dial(t, 0)
	p.to = p.accept()
	return p
}

func (p *pair) dial(t *testing.T, node int) *net.TCPConn {
	t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: IP(node)}}).Dial("tcp", p.address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	tcp, _ := conn.(*net.TCPConn)
	return tcp
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	_, err := conn.Write([]byte(text))
	require.NoError(t, err)
}

func requireReceived(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	buf := make([]byte, len(text))
	_, err := io.ReadFull(conn, buf)
	require.NoError(t, err)
	require.Equal(t, text, string(buf))
}

// requireSilent requires that nothing arrives, not even an end.
func requireSilent(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	size, err := conn.Read(make([]byte, 1))
	require.Zero(t, size)
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout(), "%v", err)
}

func requireEnded(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err := conn.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, io.EOF)
	var timeout net.Error
	if require.ErrorAs(t, err, &timeout); timeout.Timeout() {
		require.FailNow(t, "the connection goes on")
	}
}

func TestWholeLinksCarryBothWays(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	send(t, p.from, "question")
	requireReceived(t, p.to, "question")
	send(t, p.to, "answer!")
	requireReceived(t, p.from, "answer!")
	require.Equal(t, []int64{8, 7, 0}, []int64{p.net.Carried(0, 1), p.net.Carried(1, 0), p.net.Carried(0, 2)})

	// One side may end, and the other go on.
	require.NoError(t, p.from.CloseWrite())
	_, err := p.to.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	send(t, p.to, "more")
	requireReceived(t, p.from, "more")
}

// TestOneWayIsCut cuts what goes from node 0 to node 1: on the connection of
// either, the other way goes on, and nothing is lost.
func TestOneWayIsCut(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.net.Set(0, 1, Condition{Cut: true})
	send(t, p.from, "held back")
	requireSilent(t, p.to)
	send(t, p.to, "arrives")
	requireReceived(t, p.from, "arrives")

	p.net.Set(1, 0, Condition{Cut: true})
	send(t, p.to, "also held")
	requireSilent(t, p.from)
	p.net.Heal()
	requireReceived(t, p.to, "held back")
	requireReceived(t, p.from, "also held")
}

// TestEndsAreCutToo: a side that ends while the link is cut is not heard to.
func TestEndsAreCutToo(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.net.SetBetween(0, 1, Condition{Cut: true})
	send(t, p.from, "last words")
	require.NoError(t, p.from.Close())
	requireSilent(t, p.to)
	p.net.Heal()
	requireReceived(t, p.to, "last words")
}

// TestConnectionsInTheDark: one that is begun while a link is cut carries nothing,
// and ends when the link is whole. Other nodes are not concerned.
func TestConnectionsInTheDark(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string][2]int{"there": {0, 1}, "back": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			p.net.Set(cut[0], cut[1], Condition{Cut: true})
			late := p.dial(t, 0)
			send(t, late, "hello")
			requireSilent(t, late)
			other := p.dial(t, 2)
			send(t, other, "from 2")
			requireReceived(t, p.accept(), "from 2") // it was the first to come through
			p.net.Heal()
			requireEnded(t, late)
		})
	}
}

func TestConnectionsAreReset(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.net.Set(1, 0, Condition{Reset: true})
	requireEnded(t, p.from)
	requireEnded(t, p.to)
	requireReset(t, IP(0), p.address)
	p.net.Heal()
	again := p.dial(t, 0)
	send(t, again, "again")
	requireReceived(t, p.accept(), "again")
}

func TestBytesAreLate(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	const delay = 200 * time.Millisecond
	p.net.Set(0, 1, Condition{Delay: delay})
	for _, text := range []string{"one", "two"} {
		began := time.Now()
		send(t, p.from, text)
		send(t, p.to, "back") // this way is as quick as ever
		requireReceived(t, p.from, "back")
		requireReceived(t, p.to, text)
		require.GreaterOrEqual(t, time.Since(began), delay)
	}
}

func TestLinksAreThrottled(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	const size, rate = 64 << 10, 256 << 10
	p.net.Set(0, 1, Condition{BytesPerSecond: rate})
	began := time.Now()
	go func() { _, _ = p.from.Write(make([]byte, size)) }()
	_, err := io.ReadFull(p.to, make([]byte, size))
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(began), size*time.Second/rate)
}

// TestSendersWaitForACutLink: what is held back is bounded.
func TestSendersWaitForACutLink(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.net.Set(0, 1, Condition{Cut: true})
	require.NoError(t, p.from.SetWriteDeadline(time.Now().Add(500*time.Millisecond)))
	sent, err := p.from.Write(make([]byte, 64<<20))
	require.Error(t, err)
	p.net.Heal()
	received, err := io.CopyN(io.Discard, p.to, int64(sent))
	require.NoError(t, err)
	require.Equal(t, int64(sent), received)
}

// TestStrangersAreReset: who has no address of the network is of no node.
func TestStrangersAreReset(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	requireReset(t, nil, p.address)
}

// requireReset waits for a new connection from an IP to be reset, perhaps so soon that
// the dial itself is told.
func requireReset(t *testing.T, from net.IP, address string) {
	t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).Dial("tcp", address)
	if errors.Is(err, syscall.ECONNRESET) {
		return
	}
	require.NoError(t, err)
	defer conn.Close()
	requireEnded(t, conn)
}
