package tlsfiles

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/ops/cert"
)

// clientOf is the configuration of a client that trusts an authority, and shows
// the certificate in the files, if any.
func clientOf(t *testing.T, a *cert.Authority, show *cert.Files) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert())
	cfg := &tls.Config{RootCAs: pool, ServerName: "n1.example"}
	if show != nil {
		pair, err := tls.LoadX509KeyPair(show.Cert, show.Key)
		require.NoError(t, err)
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg
}

func TestPorts(t *testing.T) {
	t.Parallel()
	dir, authority := newDir(t)
	identity, err := Load(filesIn(t, dir), env())
	require.NoError(t, err)
	server, client, err := identity.Nodes()
	require.NoError(t, err)
	client.ServerName = "n1.example"
	clientFiles, err := authority.Client("4tqx", "", year)
	require.NoError(t, err)
	otherDir, other := newDir(t)
	foreign := cert.NodeFiles(otherDir, "n1")

	// Nodes take nodes.
	near, far, err := handshake(t, server, client)
	require.NoError(t, err)
	require.Equal(t, "n1", near.Subject.CommonName)
	require.Equal(t, "n1", far.Subject.CommonName)
	for name, wrong := range map[string]*tls.Config{
		"no certificate":         clientOf(t, authority, nil),
		"client's certificate":   clientOf(t, authority, &clientFiles),
		"of another authority":   clientOf(t, authority, &foreign),
		"trusts another":         clientOf(t, other, nil),
		"an older version":       {MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true, GetClientCertificate: client.GetClientCertificate},
		"looks for another host": {RootCAs: client.RootCAs, ServerName: "n2.example", GetClientCertificate: client.GetClientCertificate},
	} {
		_, _, err := handshake(t, server, wrong)
		require.Error(t, err, name)
	}
	// And they do not take for a node what is none.
	pair, err := tls.LoadX509KeyPair(clientFiles.Cert, clientFiles.Key)
	require.NoError(t, err)
	_, _, err = handshake(t, &tls.Config{Certificates: []tls.Certificate{pair}}, client)
	require.Error(t, err)

	// The operators' port takes everybody, and asks nobody.
	near, _, err = handshake(t, identity.Ops(), clientOf(t, authority, &clientFiles))
	require.NoError(t, err)
	require.Nil(t, near)
	// The API takes everybody, and asks, as does the etcd port.
	near, _, err = handshake(t, identity.API(), clientOf(t, authority, &clientFiles))
	require.NoError(t, err)
	require.Equal(t, "4tqx", near.Subject.CommonName)
	// The etcd port takes everybody, and asks.
	near, _, err = handshake(t, identity.Etcd(), clientOf(t, authority, nil))
	require.NoError(t, err)
	require.Nil(t, near)
	near, _, err = handshake(t, identity.Etcd(), clientOf(t, authority, &clientFiles))
	require.NoError(t, err)
	require.Equal(t, "4tqx", near.Subject.CommonName)
	_, _, err = handshake(t, identity.Etcd(), clientOf(t, authority, &foreign))
	require.Error(t, err)
	// Without an authority it does not.
	lone, err := Load(own(dir, "node-n1", ""), env())
	require.NoError(t, err)
	near, _, err = handshake(t, lone.Etcd(), clientOf(t, authority, &foreign))
	require.NoError(t, err)
	require.Nil(t, near)
}

// rotation is a node whose certificate is replaced, and a clock.
type rotation struct {
	t      *testing.T
	now    time.Time
	log    bytes.Buffer
	server *tls.Config
	client *tls.Config
}

func newRotation(t *testing.T, dir string) *rotation {
	t.Helper()
	r := &rotation{t: t, now: time.Now()}
	identity, err := Load(filesIn(t, dir), Env{
		Now: func() time.Time { return r.now },
		Log: slog.New(slog.NewTextHandler(&r.log, nil)),
	})
	require.NoError(t, err)
	r.server, r.client, err = identity.Nodes()
	require.NoError(t, err)
	return r
}

// serial is that of the certificate that both sides show, and what was logged
// since it was asked last.
func (r *rotation) serial() (serial, logged string) {
	r.t.Helper()
	a, err := r.server.GetCertificate(nil)
	require.NoError(r.t, err)
	b, err := r.client.GetClientCertificate(nil)
	require.NoError(r.t, err)
	require.Same(r.t, a, b)
	logged = r.log.String()
	r.log.Reset()
	return a.Leaf.SerialNumber.String(), logged
}

// later is serial after the files were looked at again.
func (r *rotation) later() (serial, logged string) {
	r.t.Helper()
	r.now = r.now.Add(lookInterval)
	return r.serial()
}

func TestCertificateIsReplacedWithoutARestart(t *testing.T) {
	t.Parallel()
	dir, authority := newDir(t)
	r := newRotation(t, dir)
	first, _ := r.serial()
	same, logged := r.later()
	require.Equal(t, first, same)
	require.Empty(t, logged)

	_, err := authority.RenewNode("n1", nil, year)
	require.NoError(t, err)
	same, _ = r.serial()
	require.Equal(t, first, same, "it was looked at just now")
	second, logged := r.later()
	require.NotEqual(t, first, second)
	require.Contains(t, logged, "certificate replaced")
	same, logged = r.later()
	require.Equal(t, second, same)
	require.Empty(t, logged)
}

// Two files cannot be replaced at once. In between they do not match, which is
// told only if it stays so.
func TestCertificateAndKeyAreReplaced(t *testing.T) {
	t.Parallel()
	dir, _ := newDir(t)
	r := newRotation(t, dir)
	first, _ := r.serial()
	files := cert.NodeFiles(dir, "n1")
	elsewhere := anotherNode(t, dir)
	require.NoError(t, os.Rename(elsewhere.Cert, files.Cert))
	same, logged := r.later()
	require.Equal(t, first, same)
	require.Empty(t, logged)
	require.NoError(t, os.Rename(elsewhere.Key, files.Key))
	second, logged := r.later()
	require.NotEqual(t, first, second)
	require.Contains(t, logged, "certificate replaced")
}

// A replacement that is no good is told of once, and the old one is kept.
func TestBadReplacementIsNotTaken(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(t *testing.T, files cert.Files) error
		says   string
	}{
		"removed": {func(t *testing.T, files cert.Files) error {
			t.Helper()
			return os.Remove(files.Cert)
		}, "no such file"},
		"half": {func(t *testing.T, files cert.Files) error {
			t.Helper()
			return os.WriteFile(files.Cert, []byte("-----BEGIN CERT"), 0o600)
		}, "no certificate in PEM"},
		"half a pair": {func(t *testing.T, files cert.Files) error {
			t.Helper()
			return os.Rename(anotherNode(t, filepath.Dir(files.Cert)).Key, files.Key)
		}, "is not the key of"},
		"of another authority": {func(t *testing.T, files cert.Files) error {
			t.Helper()
			dir, _ := newDir(t)
			foreign := cert.NodeFiles(dir, "n1")
			return errors.Join(os.Rename(foreign.Cert, files.Cert), os.Rename(foreign.Key, files.Key))
		}, "not of the authority"},
		"expired": {func(t *testing.T, files cert.Files) error {
			t.Helper()
			dir := selfMade(t, t.TempDir(), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
			return errors.Join(os.Rename(filepath.Join(dir, "self.crt"), files.Cert), os.Rename(filepath.Join(dir, "self.key"), files.Key))
		}, "has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, authority := newDir(t)
			r := newRotation(t, dir)
			first, _ := r.serial()
			require.NoError(t, test.change(t, cert.NodeFiles(dir, "n1")))
			var all string
			for range 5 {
				same, logged := r.later()
				require.Equal(t, first, same)
				all += logged
			}
			require.Equal(t, 1, strings.Count(all, "certificate cannot be replaced: the old one is kept"), all)
			require.Contains(t, all, test.says)

			// It is taken when it is put right.
			files := cert.NodeFiles(dir, "n1")
			_ = os.Remove(files.Cert)
			require.NoError(t, os.Remove(files.Key))
			_, err := authority.Node("n1", []string{"n1.example"}, year)
			require.NoError(t, err)
			second, logged := r.later()
			require.NotEqual(t, first, second)
			require.Contains(t, logged, "certificate replaced")
		})
	}
}

// anotherNode makes a certificate of the same authority.
func anotherNode(t *testing.T, dir string) cert.Files {
	t.Helper()
	authority, err := cert.LoadAuthority(dir, time.Now)
	require.NoError(t, err)
	files, err := authority.Node("n2", []string{"n1.example"}, year)
	require.NoError(t, err)
	return files
}
