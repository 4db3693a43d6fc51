package tlsfiles

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/ops/cert"
)

const year = 365 * 24 * time.Hour

// newDir is a directory with an authority and the certificate of node "n1".
func newDir(t *testing.T) (string, *cert.Authority) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "certs")
	_, err := cert.NewAuthority(dir, 10*year, time.Now)
	require.NoError(t, err)
	authority, err := cert.LoadAuthority(dir, time.Now)
	require.NoError(t, err)
	_, err = authority.Node("n1", []string{"n1.example", "127.0.0.1"}, year)
	require.NoError(t, err)
	return dir, authority
}

func env() Env { return Env{Now: time.Now, Log: slog.New(slog.DiscardHandler)} }

func filesIn(t *testing.T, dir string) Files {
	t.Helper()
	files, err := InDir(Setting{"--cert-dir", dir}, Setting{Flag: "--node-name"})
	require.NoError(t, err)
	return files
}

// own are files that are named one by one.
func own(dir, name, ca string) Files {
	files := Files{Cert: Setting{"--cert-file", filepath.Join(dir, name+".crt")}, Key: Setting{"--key-file", filepath.Join(dir, name+".key")}}
	files.CA = Setting{Flag: "--ca-file", Value: ca}
	return files
}

func TestFilesOfADirectory(t *testing.T) {
	t.Parallel()
	dir, authority := newDir(t)
	require.Equal(t, Files{
		Cert: Setting{"--cert-dir", filepath.Join(dir, "node-n1.crt")},
		Key:  Setting{"--cert-dir", filepath.Join(dir, "node-n1.key")},
		CA:   Setting{"--cert-dir", filepath.Join(dir, "ca.crt")},
	}, filesIn(t, dir))

	_, err := authority.Node("n2", []string{"n2.example"}, year)
	require.NoError(t, err)
	_, err = InDir(Setting{"--cert-dir", dir}, Setting{Flag: "--node-name"})
	require.ErrorContains(t, err, "--cert-dir: "+dir+": it holds the certificates of n1, n2: say which is this node's by --node-name")
	files, err := InDir(Setting{"--cert-dir", dir}, Setting{"--node-name", "n2"})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "node-n2.key"), files.Key.Value)

	_, err = InDir(Setting{"--cert-dir", t.TempDir()}, Setting{Flag: "--node-name"})
	require.ErrorContains(t, err, "it holds no certificate of a node: make one with 'flotilla cert node")
	_, err = InDir(Setting{"--cert-dir", filepath.Join(dir, "none")}, Setting{Flag: "--node-name"})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "--cert-dir: open "+dir)
}

func TestSettingsThatNeedEachOther(t *testing.T) {
	t.Parallel()
	files := Files{Cert: Setting{Flag: "--cert-file"}, Key: Setting{Flag: "--key-file"}, CA: Setting{Flag: "--ca-file"}}
	require.NoError(t, files.Validate())
	_, err := Load(files, env())
	require.ErrorContains(t, err, "--cert-file is missing: make one with")
	files.CA.Value = "x"
	require.ErrorContains(t, files.Validate(), "--ca-file needs --cert-file")
	files.Cert.Value = "x"
	require.ErrorContains(t, files.Validate(), "--cert-file and --key-file go together")
	_, err = Load(files, env())
	require.ErrorContains(t, err, "go together")
	files.Key.Value = "x"
	require.NoError(t, files.Validate())
}

// What is wrong with a file is told with its flag, its path and what to do.
func TestWrongFiles(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(t *testing.T, dir string, a *cert.Authority) Files
		says   []string
	}{
		"no certificate": {
			func(t *testing.T, dir string, _ *cert.Authority) Files {
				t.Helper()
				return own(dir, "none", "")
			}, []string{"--cert-file: open ", "none.crt: no such file", "flotilla cert node"},
		},
		"no key": {
			func(t *testing.T, dir string, _ *cert.Authority) Files {
				t.Helper()
				require.NoError(t, os.Remove(filepath.Join(dir, "node-n1.key")))
				return own(dir, "node-n1", "")
			}, []string{"--key-file: open ", "node-n1.key: no such file", "copy the key"},
		},
		"no authority": {
			func(t *testing.T, dir string, _ *cert.Authority) Files {
				t.Helper()
				return own(dir, "node-n1", filepath.Join(dir, "none.crt"))
			}, []string{"--ca-file: open ", "none.crt: no such file", "flotilla cert ca"},
		},
		"key of another": {
			func(t *testing.T, dir string, a *cert.Authority) Files {
				t.Helper()
				other, err := a.Node("n2", []string{"n2.example"}, year)
				require.NoError(t, err)
				files := own(dir, "node-n1", "")
				files.Key.Value = other.Key
				return files
			}, []string{"--key-file: ", "node-n2.key: it is not the key of ", "node-n1.crt", "take both files of one certificate"},
		},
		"key instead of the certificate": {
			func(t *testing.T, dir string, _ *cert.Authority) Files {
				t.Helper()
				files := own(dir, "node-n1", "")
				files.Cert.Value = files.Key.Value
				return files
			}, []string{"--cert-file: ", "it holds no certificate in PEM"},
		},
		"garbage in PEM": {
			func(t *testing.T, dir string, _ *cert.Authority) Files {
				t.Helper()
				write(t, filepath.Join(dir, "node-n1.crt"), "CERTIFICATE", []byte("garbage"))
				return own(dir, "node-n1", "")
			}, []string{"--cert-file: ", "its certificate cannot be read"},
		},
		"garbage authority": {
			func(t *testing.T, dir string, _ *cert.Authority) Files {
				t.Helper()
				write(t, filepath.Join(dir, "ca.crt"), "CERTIFICATE", []byte("garbage"))
				return own(dir, "node-n1", filepath.Join(dir, "ca.crt"))
			}, []string{"--ca-file: ", "a certificate that cannot be read", "flotilla cert ca"},
		},
		"empty authority": {
			func(t *testing.T, dir string, _ *cert.Authority) Files {
				t.Helper()
				require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.crt"), nil, 0o600))
				return own(dir, "node-n1", filepath.Join(dir, "ca.crt"))
			}, []string{"--ca-file: ", "it holds no certificate in PEM"},
		},
		"node as the authority": {
			func(t *testing.T, dir string, _ *cert.Authority) Files {
				t.Helper()
				return own(dir, "node-n1", filepath.Join(dir, "node-n1.crt"))
			}, []string{"--ca-file: ", "it is no authority"},
		},
		"client": {
			func(t *testing.T, dir string, a *cert.Authority) Files {
				t.Helper()
				_, err := a.Client("id", "", year)
				require.NoError(t, err)
				return own(dir, "client-id", "")
			}, []string{"--cert-file: ", "the certificate is a client's", "flotilla cert node"},
		},
		"no hosts": {
			func(t *testing.T, dir string, _ *cert.Authority) Files {
				t.Helper()
				selfMade(t, dir, func(c *x509.Certificate) { c.DNSNames = nil })
				return own(dir, "self", "")
			}, []string{"names no host"},
		},
		"begins later": {
			func(t *testing.T, dir string, _ *cert.Authority) Files {
				t.Helper()
				selfMade(t, dir, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
				return own(dir, "self", "")
			}, []string{"the certificate begins at ", "set this machine's clock"},
		},
		"expired": {
			func(t *testing.T, dir string, _ *cert.Authority) Files {
				t.Helper()
				selfMade(t, dir, func(c *x509.Certificate) { c.NotAfter = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC) })
				return own(dir, "self", "")
			}, []string{"--cert-file: ", "self.crt: the certificate has expired at 2020-01-02T03:04:05Z: renew it with 'flotilla cert node n7 --renew'"},
		},
		"expired authority": {
			func(t *testing.T, dir string, _ *cert.Authority) Files {
				t.Helper()
				selfMade(t, dir, func(c *x509.Certificate) {
					c.IsCA, c.BasicConstraintsValid, c.NotAfter = true, true, time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
				})
				return own(dir, "node-n1", filepath.Join(dir, "self.crt"))
			}, []string{"--ca-file: ", "self.crt: the authority has expired at 2020-01-02T03:04:05Z: make one with 'flotilla cert ca'"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, authority := newDir(t)
			_, err := Load(test.change(t, dir, authority), env())
			for _, says := range test.says {
				require.ErrorContains(t, err, says)
			}
		})
	}
}

// Certificates that are good for callers, and not between nodes.
func TestWrongFilesBetweenNodes(t *testing.T) {
	t.Parallel()
	dir, _ := newDir(t)
	foreign, _ := newDir(t)
	for name, test := range map[string]struct {
		files Files
		says  []string
	}{
		"no authority": {own(dir, "node-n1", ""), []string{"nodes need the authority that vouches for them", "--cert-file"}},
		"of another authority": {
			own(dir, "node-n1", filepath.Join(foreign, "ca.crt")),
			[]string{
				"--cert-file: ", "node-n1.crt: the certificate is not of the authority in " + foreign,
				"'flotilla cert node n1 --host n1.example,127.0.0.1' in the directory of that authority",
			},
		},
		"good for servers only": {
			own(selfMade(t, t.TempDir(), func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }), "self", filepath.Join(dir, "ca.crt")),
			[]string{"not a node's: it must be good for servers and for clients", "'flotilla cert node n7 --host self.example'"},
		},
		"good for whatever": {
			own(selfMade(t, t.TempDir(), func(c *x509.Certificate) { c.ExtKeyUsage = nil }), "self", filepath.Join(dir, "ca.crt")),
			[]string{"not a node's"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			identity, err := Load(test.files, env())
			require.NoError(t, err)
			_, _, err = identity.Nodes()
			for _, says := range test.says {
				require.ErrorContains(t, err, says)
			}
		})
	}

	// While authorities are replaced, the file holds both.
	both := filepath.Join(t.TempDir(), "both.crt")
	var text []byte
	for _, d := range []string{foreign, dir} {
		one, err := os.ReadFile(filepath.Join(d, "ca.crt"))
		require.NoError(t, err)
		text = append(text, one...)
	}
	require.NoError(t, os.WriteFile(both, text, 0o600))
	identity, err := Load(own(dir, "node-n1", both), env())
	require.NoError(t, err)
	_, _, err = identity.Nodes()
	require.NoError(t, err)
}

func TestHostsThatTheCertificateIsNotGoodFor(t *testing.T) {
	t.Parallel()
	dir, _ := newDir(t)
	identity, err := Load(filesIn(t, dir), env())
	require.NoError(t, err)
	for _, host := range []string{"n1.example", "127.0.0.1"} {
		require.NoError(t, identity.CheckHost(Setting{"--advertise-peer", host}))
	}
	for _, host := range []string{"n2.example", "10.0.0.1", ""} {
		require.ErrorContains(t, identity.CheckHost(Setting{"--advertise-peer", host}), "--advertise-peer: the certificate in "+dir)
	}
}

// selfMade writes a certificate of node "n7" that vouches for itself, and
// returns its directory.
func selfMade(t *testing.T, dir string, change func(*x509.Certificate)) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "n7"}, DNSNames: []string{"self.example"},
		NotBefore: time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Now().Add(year),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	write(t, filepath.Join(dir, "self.crt"), "CERTIFICATE", der)
	der, err = x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	write(t, filepath.Join(dir, "self.key"), "PRIVATE KEY", der)
	return dir
}

func write(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// handshake returns what the server sees of the client and the client of the
// server, or the client's error.
func handshake(t *testing.T, server, client *tls.Config) (seenByServer, seenByClient *x509.Certificate, err error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	served := make(chan *x509.Certificate, 1)
	go func() {
		defer close(served)
		raw, err := listener.Accept()
		if err != nil {
			return
		}
		defer raw.Close()
		conn := tls.Server(raw, server)
		if conn.HandshakeContext(t.Context()) == nil {
			_, _ = conn.Write([]byte{1}) // what the client waits for
			served <- leafOf(conn)
		}
		_, _ = conn.Read(make([]byte, 1)) // until the client has heard all
	}()
	raw, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	conn := tls.Client(raw, client)
	_, err = conn.Read(make([]byte, 1))
	seenByClient = leafOf(conn)
	_ = raw.Close()
	return <-served, seenByClient, err
}

func leafOf(conn *tls.Conn) *x509.Certificate {
	if list := conn.ConnectionState().PeerCertificates; len(list) > 0 {
		return list[0]
	}
	return nil
}
