package process

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tests/faultnet"
)

// nodePorts are where a node listens, and where others find it; it keeps them over
// restarts.
type nodePorts struct {
	api, etcd, ops, peer, raft     string
	advertisedPeer, advertisedRaft string
}

func (p nodePorts) flags() []string {
	return []string{
		"--listen-api", p.api, "--listen-etcd", p.etcd, "--listen-ops", p.ops, "--listen-peer", p.peer, "--listen-raft", p.raft,
		"--advertise-peer", p.advertisedPeer, "--advertise-raft", p.advertisedRaft,
	}
}

// newPorts takes ports for a node. Over a network its peers find it by the relays
// in front of them.
func (c *Cluster) newPorts(t *testing.T, node int) nodePorts {
	t.Helper()
	if c.cfg.Network == nil {
		return freePorts(t, "127.0.0.1")
	}
	p := freePorts(t, faultnet.IP(node).String())
	p.advertisedPeer = c.cfg.Network.Relay(t, node, p.peer)
	p.advertisedRaft = c.cfg.Network.Relay(t, node, p.raft)
	return p
}

// freePorts takes ports of which the last two are of a host.
func freePorts(t *testing.T, host string) nodePorts {
	t.Helper()
	var p nodePorts
	for address, host := range map[*string]string{
		&p.api: "127.0.0.1", &p.etcd: "127.0.0.1", &p.ops: "127.0.0.1", &p.peer: host, &p.raft: host,
	} {
		listener := listenBelow(t, host)
		defer listener.Close() // all at the end, so that they differ
		*address = listener.Addr().String()
	}
	p.advertisedPeer, p.advertisedRaft = p.peer, p.raft
	return p
}

// listenBelow listens on a port below those that the kernel gives to connections:
// nobody's connection takes it while its node is down.
func listenBelow(t *testing.T, host string) net.Listener {
	t.Helper()
	const portMin, portMax, attempts = 20_000, 32_000, 1000
	for range attempts {
		address := net.JoinHostPort(host, strconv.Itoa(portMin+rand.IntN(portMax-portMin)))
		if listener, err := net.Listen("tcp", address); err == nil {
			return listener
		}
	}
	require.FailNow(t, "no port is free")
	return nil
}
