package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/flotillakv/flotilla/shards/transport"
)

// Env is what a node's identity needs of the process.
type Env struct {
	// Now is the wall clock.
	Now func() time.Time
	// Log is told of certificates that are replaced, or that cannot be.
	Log *slog.Logger
}

// An Identity is a node's certificate, for one or more of its ports. Its methods
// may be called from several goroutines.
type Identity struct {
	files  Files
	keeper *keeper
	roots  *x509.CertPool // nil without Files.CA
}

// Load reads the files. Its errors are *FileError or name the flags in another
// way.
func Load(files Files, env Env) (*Identity, error) {
	if files.Cert.Value == "" {
		return nil, fmt.Errorf("%s is missing: %s", files.Cert.Flag, adviceMake)
	}
	if err := files.Validate(); err != nil {
		return nil, err
	}
	keeper, err := newKeeper(files, env)
	if err != nil {
		return nil, err
	}
	i := &Identity{files: files, keeper: keeper}
	if files.CA.Value != "" {
		if i.roots, err = readAuthority(files.CA, env.Now()); err != nil {
			return nil, err
		}
	}
	return i, nil
}

// Ops is for the operators' port, whose callers prove themselves by other means than
// a certificate.
func (i *Identity) Ops() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: i.keeper.forServer,
		NextProtos:     []string{"h2", "http/1.1"},
	}
}

// API is for the API: callers may show a certificate of the authority, if there is
// one.
func (i *Identity) API() *tls.Config {
	cfg := i.Ops()
	if i.roots != nil {
		cfg.ClientCAs, cfg.ClientAuth = i.roots, tls.VerifyClientCertIfGiven
	}
	return cfg
}

// Etcd is for the etcd v3 API, as API.
func (i *Identity) Etcd() *tls.Config {
	cfg := i.API()
	cfg.NextProtos = nil // the server of gRPC adds its own
	return cfg
}

// Nodes is for the ports between nodes, the Raft port and the peer port: both
// sides show a certificate of the authority that is a node's, not a client's. A
// certificate that others would not accept is an error here, and is not taken
// later either.
func (i *Identity) Nodes() (server, client *tls.Config, err error) {
	if i.roots == nil {
		return nil, nil, errors.New("nodes need the authority that vouches for them: name it beside " + i.files.Cert.Flag)
	}
	err = i.keeper.demand(func(pair *tls.Certificate, now time.Time) error {
		return checkNode(i.files, pair, i.roots, now)
	})
	if err != nil {
		return nil, nil, err
	}
	server = &tls.Config{
		MinVersion: tls.VersionTLS13, GetCertificate: i.keeper.forServer,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: i.roots,
		VerifyConnection: transport.VerifyNode,
	}
	client = &tls.Config{
		MinVersion: tls.VersionTLS13, GetClientCertificate: i.keeper.forClient,
		RootCAs: i.roots, VerifyConnection: transport.VerifyNode,
	}
	return server, client, nil
}

// CheckHost refuses a setting whose host, a name or an IP address, the
// certificate is not good for: others would look for the node there, and not
// accept it.
func (i *Identity) CheckHost(setting Setting) error {
	leaf := i.keeper.get().Leaf
	if err := leaf.VerifyHostname(setting.Value); err != nil {
		return fmt.Errorf("%s: the certificate in %s is not good for %q, under which others look for the node: %w: say %[1]s with a host that it is good for, or make another one with 'flotilla cert node --host %[3]s'",
			setting.Flag, i.files.Cert.Value, setting.Value, err)
	}
	return nil
}
