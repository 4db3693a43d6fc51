package conformance

import (
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// relay is an address that stays while a node is killed and started again. The
// node takes a free port with each start: the one that it had may be another
// process's by then.
type relay struct {
	listener net.Listener
	target   atomic.Pointer[string]
}

// newRelay listens until the test ends.
func newRelay(t *testing.T) *relay {
	t.Helper()
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{listener: listener}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	return r
}

// lead sends connections to a node from now on. Those of before end with the
// node that they are to.
func (r *relay) lead(url string) {
	_, address, _ := strings.Cut(url, "://")
	r.target.Store(&address)
}

func (r *relay) serve(conn net.Conn) {
	defer conn.Close()
	target := r.target.Load()
	if target == nil {
		return
	}
	var d net.Dialer
	node, err := d.Dial("tcp", *target)
	if err != nil {
		return // the node is down
	}
	defer node.Close()
	ended := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{conn, node}, {node, conn}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1]) // how it ends makes no difference
			ended <- struct{}{}
		}()
	}
	<-ended
	_, _ = conn.Close(), node.Close()
	<-ended
}
