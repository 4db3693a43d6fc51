package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/flotillakv/flotilla/gateway/etcd"
	"github.com/flotillakv/flotilla/ops/tlsfiles"
)

// EtcdTLS are the files, in PEM, that encrypt the etcd v3 API.
type EtcdTLS struct {
	// CertFile and KeyFile are the node's certificate and its key.
	CertFile, KeyFile string
	// ClientCAFile is the authority whose certificates let clients in, each by
	// its common name: the id of an API key, or
	// <tenant>/<namespace>/<id of an API key>. Without one there are passwords
	// and tokens only.
	ClientCAFile string
}

func (t EtcdTLS) files() tlsfiles.Files {
	return tlsfiles.Files{
		Cert: tlsfiles.Setting{Flag: "--etcd-cert-file", Value: t.CertFile},
		Key:  tlsfiles.Setting{Flag: "--etcd-key-file", Value: t.KeyFile},
		CA:   tlsfiles.Setting{Flag: "--etcd-client-ca-file", Value: t.ClientCAFile},
	}
}

// config is the TLS that the files make, nil without them.
func (t EtcdTLS) config(log *slog.Logger) (*tls.Config, error) {
	if t.CertFile == "" {
		return nil, nil //nolint:nilnil // no TLS is no error
	}
	identity, err := tlsfiles.Load(t.files(), tlsfiles.Env{Now: time.Now, Log: log})
	if err != nil {
		return nil, err
	}
	return identity.Etcd(), nil
}

// listenEtcd takes the port of the etcd v3 API, and finds out where clients
// reach it.
func (n *Node) listenEtcd(ctx context.Context) (net.Listener, error) {
	listener, err := n.bindEtcd(ctx)
	if err != nil {
		return nil, err
	}
	if n.etcdAddress, err = advertised(n.cfg.AdvertiseEtcd, listener.Addr(), os.Hostname); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// bindEtcd takes the port, or another one if it may.
func (n *Node) bindEtcd(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", n.cfg.ListenEtcd)
	if err == nil {
		return listener, nil
	}
	if n.cfg.EtcdPortOptional {
		host, _, splitErr := net.SplitHostPort(n.cfg.ListenEtcd)
		if splitErr != nil {
			return nil, splitErr
		}
		return lc.Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	}
	return nil, fmt.Errorf("--listen-etcd: %w: choose another address, or end the process that has it", err)
}

func (n *Node) serveEtcd(ctx context.Context) (func() error, error) {
	cfg := n.cfg.Etcd
	var err error
	if cfg.TLS, err = n.cfg.EtcdTLS.config(n.cfg.Log); err != nil {
		return nil, err
	}
	cfg.Limits = n.cfg.Gateway.Limits
	cfg.ClusterID, cfg.NodeID = n.dir.Identity().ClusterID, n.dir.Identity().NodeID
	cfg.URL, cfg.TempDir = n.EtcdURL(), n.dir.Path()
	server := etcd.New(cfg, n.kv, n.host, n.catalog, n.metrics, n.cfg.Log)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(n.etcd); err != nil {
			n.fail(err)
		}
	})
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		server.Stop(ctx)
		serving.Wait()
		return nil
	}, nil
}

// EtcdURL is the address of the etcd v3 API as etcd's clients take it, and as
// MemberList tells it to them.
func (n *Node) EtcdURL() string {
	scheme := "http://"
	if n.cfg.EtcdTLS.CertFile != "" {
		scheme = "https://"
	}
	return scheme + n.etcdAddress
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
			return "", fmt.Errorf("find the name of this host, which --advertise-etcd would give: %w", err)
		}
	}
	return net.JoinHostPort(host, port), nil
}
