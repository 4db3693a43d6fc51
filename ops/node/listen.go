package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
)

// listeners are the node's ports. Those that it does not have are nil.
type listeners struct {
	api, etcd, ops, peer, raft net.Listener
	// advertised is where others reach each, as host:port.
	advertised struct{ api, etcd, peer, raft string }
}

// listen takes all ports: one that is taken is told before any work is done.
func (n *Node) listen(ctx context.Context) (func() error, error) {
	l := &n.ports
	targets := map[string]struct {
		listener   *net.Listener
		advertised *string
	}{
		"api":  {&l.api, &l.advertised.api},
		"etcd": {&l.etcd, &l.advertised.etcd},
		"ops":  {&l.ops, new(string)}, // nobody is told of it
		"peer": {&l.peer, &l.advertised.peer},
		"raft": {&l.raft, &l.advertised.raft},
	}
	for _, p := range n.cfg.ports() {
		if p.listen == "" || p.name == "raft" && !n.hosts() {
			continue
		}
		listener, err := n.bind(ctx, p)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("--listen-%s: %w: choose another address, or end the process that has it", p.name, err), l.close())
		}
		target := targets[p.name]
		*target.listener = listener
		if *target.advertised, err = advertised(p.advertise, listener.Addr(), os.Hostname); err != nil {
			return nil, errors.Join(fmt.Errorf("find the name of this host, which --advertise-%s would give: %w", p.name, err), l.close())
		}
		if err := n.checkAdvertised(p.name, *target.advertised); err != nil && p.name != "ops" {
			return nil, errors.Join(err, l.close())
		}
	}
	return l.close, nil
}

// bind takes one port, or another one if it may.
func (n *Node) bind(ctx context.Context, p port) (net.Listener, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", p.listen)
	if err == nil || p.name != "etcd" || !n.cfg.EtcdPortOptional {
		return listener, err
	}
	host, _, splitErr := net.SplitHostPort(p.listen)
	if splitErr != nil {
		return nil, splitErr
	}
	return lc.Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
}

// close gives the ports back. The servers have closed theirs, unless they never
// served.
func (l *listeners) close() error {
	for _, listener := range []net.Listener{l.api, l.etcd, l.ops, l.peer, l.raft} {
		if listener != nil {
			_ = listener.Close()
		}
	}
	return nil
}

// source is the local address that connections to others leave from: where the
// node listens, if that is one address, so that firewalls see one for each node.
func source(listen string) net.IP {
	host, _, err := net.SplitHostPort(listen)
	ip := net.ParseIP(host)
	if err != nil || ip == nil || ip.IsUnspecified() {
		return nil
	}
	return ip
}

// advertised is the address under which others reach a listener: the one that
// is set, with the listener's port in place of port 0, or else the listener's.
// One that listens on every address of this host is reached by the host's name.
func advertised(set string, listener net.Addr, hostname func() (string, error)) (string, error) {
	host, port, err := net.SplitHostPort(listener.String())
	if err != nil {
		return "", err
	}
	if set != "" {
		setHost, setPort, err := net.SplitHostPort(set)
		if err != nil {
			return "", err
		}
		if setPort != "0" {
			port = setPort
		}
		return net.JoinHostPort(setHost, port), nil
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		if host, err = hostname(); err != nil {
			return "", err
		}
	}
	return net.JoinHostPort(host, port), nil
}
