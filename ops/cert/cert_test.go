package cert

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const year = 365 * 24 * time.Hour

func newAuthority(t *testing.T) (*Authority, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "certs")
	_, err := NewAuthority(dir, 10*year, time.Now)
	require.NoError(t, err)
	a, err := LoadAuthority(dir, time.Now)
	require.NoError(t, err)
	return a, dir
}

// A node and a client shake hands, each vouched for by the same authority; a
// client of another authority, and a node under another name, are refused.
func TestNodeAndClientShakeHands(t *testing.T) {
	t.Parallel()
	a, _ := newAuthority(t)
	other, _ := newAuthority(t)
	node := pair(t, a, func(a *Authority) (Files, error) {
		return a.Node("n1", []string{"node.example", "127.0.0.1"}, year)
	})
	client := func(a *Authority) (Files, error) { return a.Client("4tqx3rcixptkeotw", "", year) }
	for name, test := range map[string]struct {
		client, trusted *Authority
		host, fails     string
	}{
		"by name":                  {a, a, "node.example", ""},
		"by address":               {a, a, "127.0.0.1", ""},
		"another name":             {a, a, "elsewhere.example", "not elsewhere.example"},
		"client of another":        {other, a, "node.example", "certificate"},
		"client trusts only other": {a, other, "node.example", "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			commonName, err := handshake(t,
				&tls.Config{Certificates: []tls.Certificate{node}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool(a)},
				&tls.Config{Certificates: []tls.Certificate{pair(t, test.client, client)}, RootCAs: pool(test.trusted), ServerName: test.host})
			if test.fails == "" {
				require.NoError(t, err)
				require.Equal(t, "4tqx3rcixptkeotw", commonName)
				return
			}
			require.ErrorContains(t, err, test.fails)
		})
	}
}

// A client's certificate is good for no server.
func TestClientCannotPassForANode(t *testing.T) {
	t.Parallel()
	a, _ := newAuthority(t)
	files, err := a.Client("id", "", year)
	require.NoError(t, err)
	_, err = read(t, files).Verify(x509.VerifyOptions{Roots: pool(a), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	require.Error(t, err)
}

func TestFilesAreSafe(t *testing.T) {
	t.Parallel()
	a, dir := newAuthority(t)
	files, err := a.Node("n1", []string{"localhost"}, 20*year)
	require.NoError(t, err)
	require.False(t, read(t, files).NotAfter.After(a.Cert().NotAfter), "it outlives its authority")
	for _, key := range []string{files.Key, filepath.Join(dir, "ca.key")} {
		info, err := os.Stat(key)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	}

	before, err := os.ReadFile(files.Key)
	require.NoError(t, err)
	_, err = a.Node("n1", []string{"localhost"}, year)
	require.ErrorIs(t, err, fs.ErrExist)
	_, err = NewAuthority(dir, year, time.Now)
	require.ErrorIs(t, err, fs.ErrExist)
	after, err := os.ReadFile(files.Key)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

// A renewed certificate is of the same key, so that one file alone is replaced.
func TestNodeIsRenewed(t *testing.T) {
	t.Parallel()
	a, dir := newAuthority(t)
	files, err := a.Node("n1", []string{"n1.example", "10.0.0.1"}, time.Hour)
	require.NoError(t, err)
	old := read(t, files)
	renewed, err := a.RenewNode("n1", nil, year)
	require.NoError(t, err)
	require.Equal(t, files, renewed)
	now := read(t, files)
	require.Equal(t, old.PublicKey, now.PublicKey)
	require.Equal(t, []string{"n1.example"}, now.DNSNames)
	require.NoError(t, now.VerifyHostname("10.0.0.1"))
	require.True(t, now.NotAfter.After(old.NotAfter))
	require.NotEqual(t, old.SerialNumber, now.SerialNumber)
	_, err = tls.LoadX509KeyPair(files.Cert, files.Key)
	require.NoError(t, err)
	_, err = now.Verify(x509.VerifyOptions{Roots: pool(a), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	require.NoError(t, err)

	_, err = a.RenewNode("n1", []string{"elsewhere.example"}, year)
	require.NoError(t, err)
	require.Equal(t, []string{"elsewhere.example"}, read(t, files).DNSNames)

	_, err = a.RenewNode("n2", nil, year)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = a.RenewNode("n1", []string{"http://x:1"}, year)
	require.ErrorContains(t, err, "neither an IP address nor a DNS name")
	require.NoError(t, os.Rename(filepath.Join(dir, "ca.key"), files.Key))
	_, err = a.RenewNode("n1", nil, year)
	require.ErrorContains(t, err, "is not the key of")
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Len(t, left, 3, "something is left behind: %v", left)
}

func TestNodesAreListed(t *testing.T) {
	t.Parallel()
	a, dir := newAuthority(t)
	for _, name := range []string{"n2", "n1"} {
		_, err := a.Node(name, []string{"localhost"}, year)
		require.NoError(t, err)
	}
	_, err := a.Client("node-n3", "", year)
	require.NoError(t, err)
	names, err := NodesIn(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"n1", "n2"}, names)
	_, err = NodesIn(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestWrongRequestsAreRefused(t *testing.T) {
	t.Parallel()
	a, dir := newAuthority(t)
	for _, name := range []string{"", "../n1", "a/b", "n 1", "-n"} {
		_, err := a.Node(name, []string{"localhost"}, year)
		require.ErrorContains(t, err, "is no name", name)
		_, err = a.Client(name, "", year)
		require.ErrorContains(t, err, "is no name", name)
	}
	_, err := a.Client("id", strings.Repeat("a", 65), year)
	require.ErrorContains(t, err, "too long")
	_, err = a.Node("n", nil, year)
	require.ErrorContains(t, err, "at least one host")
	_, err = a.Node("n", []string{"http://x:1"}, year)
	require.ErrorContains(t, err, "neither an IP address nor a DNS name")
	_, err = a.Client("id", "", time.Second)
	require.ErrorContains(t, err, "a minute or more")

	_, err = LoadAuthority(t.TempDir(), time.Now)
	require.ErrorContains(t, err, "flotilla cert ca")
	_, err = LoadAuthority(dir, func() time.Time { return time.Now().Add(11 * year) })
	require.ErrorContains(t, err, "has expired")
	_, otherDir := newAuthority(t)
	otherKey, err := os.ReadFile(filepath.Join(otherDir, "ca.key"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.key"), otherKey, 0o600))
	_, err = LoadAuthority(dir, time.Now)
	require.ErrorContains(t, err, "is not the key of")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.key"), []byte("garbage"), 0o600))
	_, err = LoadAuthority(dir, time.Now)
	require.ErrorContains(t, err, "no private key")
}

func read(t *testing.T, files Files) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(files.Cert)
	require.NoError(t, err)
	cert, err := parseCert(text)
	require.NoError(t, err)
	return cert
}

// pair makes a certificate; one that is there already is another test's.
func pair(t *testing.T, a *Authority, make func(*Authority) (Files, error)) tls.Certificate {
	t.Helper()
	own := *a
	own.dir = t.TempDir()
	files, err := make(&own)
	require.NoError(t, err)
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	require.NoError(t, err)
	return cert
}

func pool(a *Authority) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.Cert())
	return p
}

// handshake returns the common name that the server sees.
func handshake(t *testing.T, server, client *tls.Config) (commonName string, err error) {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	served := make(chan error, 1)
	conn := tls.Server(far, server)
	go func() {
		defer far.Close()
		served <- conn.HandshakeContext(t.Context())
	}()
	clientErr := tls.Client(near, client).HandshakeContext(t.Context())
	if clientErr != nil {
		_ = near.Close()
		return "", errors.Join(clientErr, <-served)
	}
	go func() { _, _ = io.Copy(io.Discard, near) }() // a pipe holds nothing, not even an alert
	if err := <-served; err != nil {
		return "", err
	}
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}
