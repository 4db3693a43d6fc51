// Package cert makes the certificates that a flotilla's listeners need: an
// authority of one's own, what nodes show to clients and to each other, and
// what clients of the etcd v3 API show instead of a password.
//
// An authority is two files of a directory, and so is each certificate:
//
//	ca.crt          ca.key            the authority; its key is for making others
//	node-NAME.crt   node-NAME.key     a node's, good for the names it is reached by
//	client-ID.crt   client-ID.key     a client's, whose common name is an API key's id
//
// Keys are ECDSA on P-256, which everything that speaks TLS knows, and files of
// keys are readable by their owner alone. Nothing is overwritten but the
// certificate of a node that is renewed.
package cert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"regexp"
	"time"
)

// clockSkew is how long before its making a certificate is valid: other
// machines' clocks may be behind.
const clockSkew = 5 * time.Minute

// commonNameBytesMax is the longest common name that all programs take (X.520).
const commonNameBytesMax = 64

// An Authority vouches for certificates.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  func() time.Time
}

// NewAuthority makes an authority in a directory, which is created if need be,
// valid from now on for so long. Its error wraps fs.ErrExist if there is one
// already.
func NewAuthority(dir string, valid time.Duration, now func() time.Time) (Files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Files{}, fmt.Errorf("make the directory of certificates: %w", err)
	}
	template, err := newTemplate(pkix.Name{CommonName: "flotilla authority"}, valid, now)
	if err != nil {
		return Files{}, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.MaxPathLen, template.MaxPathLenZero = 0, true // it vouches for no other authority
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return write(filesOf(dir, authorityName), template, nil)
}

// LoadAuthority reads the authority of a directory.
func LoadAuthority(dir string, now func() time.Time) (*Authority, error) {
	files := filesOf(dir, authorityName)
	cert, key, err := readPair(files)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read the authority: %w: name its --dir, or make one with 'flotilla cert ca'", err)
	case err != nil:
		return nil, fmt.Errorf("read the authority: %w", err)
	case !cert.IsCA:
		return nil, fmt.Errorf("%s is no authority", files.Cert)
	case now().After(cert.NotAfter):
		return nil, fmt.Errorf("the authority in %s has expired at %s: make a new one in another directory", files.Cert, cert.NotAfter.Format(time.RFC3339))
	}
	return &Authority{dir: dir, cert: cert, key: key, now: now}, nil
}

// Cert is the authority's certificate.
func (a *Authority) Cert() *x509.Certificate { return a.cert }

// Node makes the certificate of a node that is reached under the hosts, which
// are DNS names and IP addresses. Nodes are clients of each other too.
func (a *Authority) Node(name string, hosts []string, valid time.Duration) (Files, error) {
	template, err := a.node(name, hosts, valid)
	if err != nil {
		return Files{}, err
	}
	return write(NodeFiles(a.dir, name), template, a)
}

// node is the certificate of a node, to be signed.
func (a *Authority) node(name string, hosts []string, valid time.Duration) (*x509.Certificate, error) {
	if len(hosts) == 0 {
		return nil, errors.New("a node's certificate needs at least one host that it is reached under")
	}
	template, err := a.template(name, valid)
	if err != nil {
		return nil, err
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		if !validHost.MatchString(host) {
			return nil, fmt.Errorf("%q is neither an IP address nor a DNS name", host)
		}
		template.DNSNames = append(template.DNSNames, host)
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	return template, nil
}

// Client makes the certificate of a client that acts under an API key. A user, if it
// is not empty, takes the key's place as the common name: <tenant>/<namespace>/<key
// id>, of up to 64 bytes.
func (a *Authority) Client(keyID, user string, valid time.Duration) (Files, error) {
	template, err := a.template(keyID, valid)
	if err != nil {
		return Files{}, err
	}
	if user != "" {
		if len(user) > commonNameBytesMax {
			return Files{}, fmt.Errorf("%q is too long for a certificate, which takes %d bytes: leave the tenant out, or use a shorter namespace", user, commonNameBytesMax)
		}
		template.Subject.CommonName = user
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return write(filesOf(a.dir, clientPrefix+keyID), template, a)
}

var (
	validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	validHost = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}))*$`)
)

// template begins a certificate that the authority vouches for, for as long as
// it may.
func (a *Authority) template(name string, valid time.Duration) (*x509.Certificate, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("%q is no name of a certificate: use up to 63 letters, digits, dots, dashes and underscores", name)
	}
	template, err := newTemplate(pkix.Name{CommonName: name}, valid, a.now)
	if err != nil {
		return nil, err
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	return template, nil
}

func newTemplate(subject pkix.Name, valid time.Duration, now func() time.Time) (*x509.Certificate, error) {
	if valid < time.Minute {
		return nil, fmt.Errorf("a certificate of %s would end before it is used: take a minute or more", valid)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	begin := now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: subject,
		NotBefore: begin.Add(-clockSkew), NotAfter: begin.Add(valid),
	}, nil
}

// write makes a key and its certificate, vouched for by the authority, or by
// itself if that is nil.
func write(files Files, template *x509.Certificate, by *Authority) (Files, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Files{}, fmt.Errorf("make a key: %w", err)
	}
	if by == nil {
		by = &Authority{cert: template, key: key}
	}
	der, err := by.sign(template, &key.PublicKey)
	if err != nil {
		return Files{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Files{}, fmt.Errorf("encode a key: %w", err)
	}
	// The key first: a certificate that is there has its key.
	if err := writeNew(files.Key, "PRIVATE KEY", keyDER, 0o600); err != nil {
		return Files{}, err
	}
	if err := writeNew(files.Cert, "CERTIFICATE", der, 0o644); err != nil {
		return Files{}, errors.Join(err, os.Remove(files.Key))
	}
	return files, nil
}

// sign makes a certificate of a key.
func (a *Authority) sign(template *x509.Certificate, key *ecdsa.PublicKey) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	return der, nil
}
