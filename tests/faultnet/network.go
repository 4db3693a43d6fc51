// Package faultnet is a network between nodes on one machine that can be broken.
// Each node listens on a loopback address of its own, see IP, and dials from it;
// it tells the others not its own port but a relay in front of it. So the relay
// knows who talks to whom, and each ordered pair of nodes is a link that can be
// cut, delayed and throttled by itself:
//
//	n1 (127.0.0.10) ──▶ relay of n2 ──▶ n2 (127.0.0.11)
//	                    bytes from n1 to n2 take the link 0→1,
//	                    the answers on the same connection the link 1→0
//
// Bytes on a link that is cut are not lost: they wait, as TCP would send them
// again, and go on when the link is whole. To lose some of a stream and go on with
// the rest would be no network's fault, but one that TCP excludes. A connection
// that is begun while one of its links is cut is accepted, because the relay's
// operating system does that, but it carries nothing, and ends when the link is
// whole: then whoever began it begins anew, or has given up.
package faultnet

import (
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// NodesMax is how many nodes a network has addresses for.
const NodesMax = 200

// IP is the loopback address of a node, counted from 0.
func IP(node int) net.IP { return net.IPv4(127, 0, 0, byte(10+node)) }

// Supported tells whether this operating system has the addresses: all of
// 127.0.0.0/8 belongs to the loopback device on Linux, and not elsewhere.
func Supported() bool { return runtime.GOOS == "linux" }

// Condition is how a link is. The zero value is a whole link.
type Condition struct {
	// Cut holds all bytes back, in silence.
	Cut bool
	// Reset resets every connection that uses the link, and those that come.
	Reset bool
	// Delay is how much later bytes arrive.
	Delay time.Duration
	// BytesPerSecond bounds what each connection carries; 0 is no bound.
	BytesPerSecond int
}

func (c Condition) String() string {
	switch {
	case c.Reset:
		return "reset"
	case c.Cut:
		return "cut"
	case c == Condition{}:
		return "whole"
	default:
		return fmt.Sprintf("delayed by %s, %d bytes a second", c.Delay, c.BytesPerSecond)
	}
}

// A Network is the links between nodes, and the relays in front of their ports.
// Safe for concurrent use.
type Network struct {
	mu     sync.Mutex
	links  map[[2]int]*link // from, to
	open   map[*relayed]struct{}
	relays []net.Listener
	closed bool

	work sync.WaitGroup
}

// New makes a network of whole links, which ends with the test.
func New(t *testing.T) *Network {
	t.Helper()
	n := &Network{links: make(map[[2]int]*link), open: make(map[*relayed]struct{})}
	t.Cleanup(n.close)
	return n
}

// Set changes the condition of the link from one node to another. It holds for
// the connections that there are, and for those that come.
func (n *Network) Set(from, to int, c Condition) {
	l := n.link(from, to)
	l.set(c)
	if !c.Reset {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for r := range n.open {
		if r.forth == l || r.back == l {
			r.reset()
		}
	}
}

// SetBetween changes the links between two nodes, both ways.
func (n *Network) SetBetween(a, b int, c Condition) {
	n.Set(a, b, c)
	n.Set(b, a, c)
}

// Heal makes all links whole.
func (n *Network) Heal() {
	n.mu.Lock()
	links := make([]*link, 0, len(n.links))
	for _, l := range n.links {
		links = append(links, l)
	}
	n.mu.Unlock()
	for _, l := range links {
		l.set(Condition{})
	}
}

// Carried is how many bytes have arrived over a link.
func (n *Network) Carried(from, to int) int64 { return n.link(from, to).carried.Load() }

// link returns the link between two nodes.
func (n *Network) link(from, to int) *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.links[[2]int{from, to}]
	if l == nil {
		l = newLink()
		n.links[[2]int{from, to}] = l
	}
	return l
}

func (n *Network) close() {
	n.mu.Lock()
	n.closed = true
	for _, listener := range n.relays {
		_ = listener.Close()
	}
	for r := range n.open {
		r.reset()
	}
	n.mu.Unlock()
	n.work.Wait()
}
