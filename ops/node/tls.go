package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/flotillakv/flotilla/ops/tlsfiles"
)

// TLS are the certificates of a node's ports, as PEM files.
type TLS struct {
	// Dir has ca.crt, and node-NAME.crt and .key for the node of that name: what
	// 'flotilla cert' makes. Ports that have no certificate of their own use it.
	Dir string
	// Cluster is for the ports between nodes: its authority vouches for all of
	// them. Those of API and Etcd, if they have one, let clients in by certificates
	// whose common name is the id of an API key, or <tenant>/<namespace>/<id of an API key>.
	API, Etcd, Ops, Cluster CertFiles
}

// CertFiles are a certificate, its key, and an authority.
type CertFiles struct{ CertFile, KeyFile, CAFile string }

// encrypted tells whether a port with the files is.
func (t TLS) encrypted(files CertFiles) bool { return t.Dir != "" || files.CertFile != "" }

// files names the files of a port by their flags.
func (t TLS) files(port string, own CertFiles) tlsfiles.Files {
	authority := "--" + port + "-ca-file"
	if port == "etcd" || port == "api" {
		authority = "--" + port + "-client-ca-file"
	}
	return tlsfiles.Files{
		Cert: tlsfiles.Setting{Flag: "--" + port + "-cert-file", Value: own.CertFile},
		Key:  tlsfiles.Setting{Flag: "--" + port + "-key-file", Value: own.KeyFile},
		CA:   tlsfiles.Setting{Flag: authority, Value: own.CAFile},
	}
}

func (t TLS) validate() error {
	var errs []error
	for port, own := range map[string]CertFiles{"api": t.API, "etcd": t.Etcd, "ops": t.Ops, "cluster": t.Cluster} {
		if (port == "etcd" || port == "api") && own.CertFile == "" && t.Dir != "" {
			own.CAFile = "" // it goes with the directory's certificate
		}
		errs = append(errs, t.files(port, own).Validate())
	}
	if t.Cluster.CertFile != "" && t.Cluster.CAFile == "" {
		errs = append(errs, errors.New("--cluster-cert-file needs --cluster-ca-file: nodes know each other by it"))
	}
	return errors.Join(errs...)
}

// tlsConfigs are what the ports use; nil is not encrypted.
type tlsConfigs struct {
	api, etcd, ops               *tls.Config
	clusterServer, clusterClient *tls.Config
	// shown are the certificates by port, those of peer and raft included.
	shown map[string]*tlsfiles.Identity
}

// loadTLS reads the certificates.
func (n *Node) loadTLS(context.Context) (func() error, error) {
	n.tls.shown = make(map[string]*tlsfiles.Identity)
	for port, use := range map[string]func(*tlsfiles.Identity) error{
		"api": func(i *tlsfiles.Identity) error {
			n.tls.api = i.API()
			return nil
		},
		"etcd": func(i *tlsfiles.Identity) error {
			n.tls.etcd = i.Etcd()
			return nil
		},
		"ops": func(i *tlsfiles.Identity) error {
			n.tls.ops = i.Ops()
			return nil
		},
		"cluster": func(i *tlsfiles.Identity) (err error) {
			n.tls.clusterServer, n.tls.clusterClient, err = i.Nodes()
			return err
		},
	} {
		identity, err := n.identityOf(port)
		if err == nil && identity != nil {
			n.tls.shown[port] = identity
			err = use(identity)
		}
		if err != nil {
			return nil, err
		}
	}
	n.tls.shown["peer"], n.tls.shown["raft"] = n.tls.shown["cluster"], n.tls.shown["cluster"]
	return nothing, nil
}

// identityOf loads the certificate of a port: its own, or that of the directory;
// nil if it has none.
func (n *Node) identityOf(port string) (*tlsfiles.Identity, error) {
	t := n.cfg.TLS
	own := map[string]CertFiles{"api": t.API, "etcd": t.Etcd, "ops": t.Ops, "cluster": t.Cluster}[port]
	files := t.files(port, own)
	switch {
	case own.CertFile != "":
	case t.Dir != "":
		authority := files.CA
		var err error
		files, err = tlsfiles.InDir(tlsfiles.Setting{Flag: "--cert-dir", Value: t.Dir}, tlsfiles.Setting{Flag: "--node-name", Value: n.cfg.Name})
		if err != nil {
			return nil, err
		}
		if authority.Value != "" {
			files.CA = authority
		}
	default:
		return nil, nil //nolint:nilnil // no TLS is no error
	}
	return tlsfiles.Load(files, tlsfiles.Env{Now: time.Now, Log: n.cfg.Log})
}

// checkAdvertised refuses an address under which others would look for the node
// and not accept the certificate that it shows there.
func (n *Node) checkAdvertised(port, address string) error {
	identity := n.tls.shown[port]
	if identity == nil {
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("--advertise-%s: %w", port, err)
	}
	if isLoopback(host) && port != "peer" && port != "raft" {
		return nil // nobody looks for it from elsewhere
	}
	return identity.CheckHost(tlsfiles.Setting{Flag: "--advertise-" + port, Value: host})
}
