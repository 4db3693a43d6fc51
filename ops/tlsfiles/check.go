package tlsfiles

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/flotillakv/flotilla/shards/transport"
)

// readPair reads a certificate with its key, good for a server at the time.
func readPair(files Files, now time.Time) (*tls.Certificate, error) {
	certPEM, err := os.ReadFile(files.Cert.Value)
	if err != nil {
		return nil, files.Cert.wrong(err, adviceMake)
	}
	keyPEM, err := os.ReadFile(files.Key.Value)
	if err != nil {
		return nil, files.Key.wrong(err, "copy the key from where the certificate was made")
	}
	chain := certificates(certPEM)
	if len(chain) == 0 {
		return nil, files.Cert.wrong(errors.New("it holds no certificate in PEM"), adviceMake)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, files.Cert.wrong(fmt.Errorf("its certificate cannot be read: %w", err), adviceMake)
	}
	if err := checkServer(files.Cert, leaf, now); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, files.Key.wrong(fmt.Errorf("it is not the key of %s: %w", files.Cert.Value, err),
			"take both files of one certificate")
	}
	return &pair, nil
}

// checkServer refuses what no client would accept from a server.
func checkServer(file Setting, leaf *x509.Certificate, now time.Time) error {
	switch {
	case now.After(leaf.NotAfter):
		return file.wrong(fmt.Errorf("the certificate has expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339)), adviceRenew(leaf))
	case now.Before(leaf.NotBefore):
		return file.wrong(fmt.Errorf("the certificate begins at %s", leaf.NotBefore.UTC().Format(time.RFC3339)), "set this machine's clock")
	case isClientOnly(leaf):
		return file.wrong(errors.New("the certificate is a client's"), adviceMake)
	case len(leaf.DNSNames)+len(leaf.IPAddresses) == 0:
		return file.wrong(errors.New("the certificate names no host that the node is reached under"), adviceMake)
	}
	return nil
}

// isClientOnly tells that a certificate names its uses, and a server is none.
func isClientOnly(leaf *x509.Certificate) bool {
	return len(leaf.ExtKeyUsage) > 0 && !slices.ContainsFunc(leaf.ExtKeyUsage, func(use x509.ExtKeyUsage) bool {
		return use == x509.ExtKeyUsageServerAuth || use == x509.ExtKeyUsageAny
	})
}

// checkNode refuses what other nodes would not accept from a node.
func checkNode(files Files, pair *tls.Certificate, roots *x509.CertPool, now time.Time) error {
	leaf := pair.Leaf
	if err := transport.VerifyNode(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}); err != nil {
		return files.Cert.wrong(err, adviceAnew(leaf))
	}
	between := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return files.Cert.wrong(fmt.Errorf("the certificate is not of the authority in %s: %w", files.CA.Value, err),
			adviceAnew(leaf)+" in the directory of that authority")
	}
	return nil
}

// adviceRenew is the command that makes a certificate last longer.
func adviceRenew(leaf *x509.Certificate) string {
	return fmt.Sprintf("renew it with 'flotilla cert node %s --renew' where the authority is, and copy it here",
		cmp.Or(leaf.Subject.CommonName, "NAME"))
}

// adviceAnew is the command that makes a node's certificate for the same hosts.
func adviceAnew(leaf *x509.Certificate) string {
	hosts := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	if len(hosts) == 0 {
		hosts = []string{"HOST"}
	}
	return fmt.Sprintf("make one with 'flotilla cert node %s --host %s'",
		cmp.Or(leaf.Subject.CommonName, "NAME"), strings.Join(hosts, ","))
}

// readAuthority reads the certificates that vouch for others, of which at least
// one must be good at the time.
func readAuthority(file Setting, now time.Time) (*x509.CertPool, error) {
	text, err := os.ReadFile(file.Value)
	if err != nil {
		return nil, file.wrong(err, adviceCA)
	}
	pool, good := x509.NewCertPool(), 0
	why := errors.New("it holds no certificate in PEM")
	for _, der := range certificates(text) {
		c, err := x509.ParseCertificate(der)
		switch {
		case err != nil:
			return nil, file.wrong(fmt.Errorf("it holds a certificate that cannot be read: %w", err), adviceCA)
		case !c.IsCA:
			why = errors.New("it is no authority, but a certificate that one vouches for")
		case now.After(c.NotAfter):
			why = fmt.Errorf("the authority has expired at %s", c.NotAfter.UTC().Format(time.RFC3339))
		default:
			pool.AddCert(c)
			good++
		}
	}
	if good == 0 {
		return nil, file.wrong(why, adviceCA)
	}
	return pool, nil
}

// certificates are the certificates of a text in PEM, in its order.
func certificates(text []byte) [][]byte {
	var list [][]byte
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			return list
		}
		if block.Type == "CERTIFICATE" {
			list = append(list, block.Bytes)
		}
	}
}
