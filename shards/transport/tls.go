package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
)

// alpn keeps a connection that was meant for another port from being taken here.
const alpn = "flotilla-raft/1"

var (
	errNoCertificate = errors.New("the other side showed no certificate")
	errNotNode       = errors.New("the certificate is not a node's: it must be good for servers and for clients")
)

// VerifyNode accepts only those whose certificate is good for servers as well as
// for clients, as those of nodes are and those of clients are not. It is for
// tls.Config.VerifyConnection, beside the usual verification.
func VerifyNode(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errNoCertificate
	}
	uses := state.PeerCertificates[0].ExtKeyUsage
	if !slices.Contains(uses, x509.ExtKeyUsageServerAuth) || !slices.Contains(uses, x509.ExtKeyUsageClientAuth) {
		return errNotNode
	}
	return nil
}

// tlsError is a TLS handshake that went wrong in a way that has no type of its
// own.
type tlsError struct{ err error }

func (e *tlsError) Error() string { return e.err.Error() }
func (e *tlsError) Unwrap() error { return e.err }

// strictServer adds to a configuration what the transport insists on.
func strictServer(cfg *tls.Config) *tls.Config {
	if cfg == nil {
		return nil
	}
	cfg = strict(cfg)
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	cfg.GetConfigForClient = nil // it would replace all of this
	// Each connection shows its certificate: nothing is gained by resuming
	// those that last for hours.
	cfg.SessionTicketsDisabled = true
	return cfg
}

func strictClient(cfg *tls.Config) *tls.Config {
	if cfg == nil {
		return nil
	}
	cfg = strict(cfg)
	cfg.InsecureSkipVerify = false
	cfg.ClientSessionCache = nil
	return cfg
}

func strict(cfg *tls.Config) *tls.Config {
	cfg = cfg.Clone()
	cfg.MinVersion = tls.VersionTLS13
	cfg.NextProtos = []string{alpn}
	more := cfg.VerifyConnection
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		if err := VerifyNode(state); err != nil || more == nil {
			return err
		}
		return more(state)
	}
	return cfg
}

// clientFor is the configuration for a connection to an address, whose host the
// certificate there must be good for.
func clientFor(cfg *tls.Config, address string) (*tls.Config, error) {
	if cfg.ServerName != "" {
		return cfg, nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	cfg = cfg.Clone()
	cfg.ServerName = host
	return cfg, nil
}
