package peer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway/peer"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
)

// authority signs certificates of nodes.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	encoded, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(encoded)
	require.NoError(t, err)
	a := &authority{t: t, cert: cert, key: key, pool: x509.NewCertPool()}
	a.pool.AddCert(cert)
	return a
}

// node makes the two sides of TLS of a node at an address.
func (a *authority) node(ip string) (server, client *tls.Config) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	encoded, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(ip)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey, a.key)
	require.NoError(a.t, err)
	own := tls.Certificate{Certificate: [][]byte{encoded}, PrivateKey: key}
	return &tls.Config{Certificates: []tls.Certificate{own}, ClientCAs: a.pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13},
		&tls.Config{Certificates: []tls.Certificate{own}, RootCAs: a.pool, MinVersion: tls.VersionTLS13}
}

// Nodes talk only to those whose certificates are of their authority and good for
// the address that was dialed.
func TestNodesShowCertificates(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	server, client := ours.node("127.0.0.1")
	elsewhere, _ := ours.node("192.0.2.1")
	_, stranger := theirs.node("127.0.0.1")
	stranger.RootCAs = ours.pool
	_, trusting := ours.node("127.0.0.1")
	trusting.RootCAs = theirs.pool
	for name, c := range map[string]struct {
		server, client *tls.Config
		ok             bool
	}{
		"both of the authority":             {server, client, true},
		"a caller of another authority":     {server, stranger, false},
		"a node of another authority":       {server, trusting, false},
		"a certificate of another address":  {elsewhere, client, false},
		"a caller that encrypts nothing":    {server, nil, false},
		"a node that encrypts nothing":      {nil, client, false},
		"nobody encrypts, if they agree so": {nil, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, func(pool *peer.PoolConfig, cfg *peer.ServerConfig) { pool.TLS, cfg.TLS = c.client, c.server })
			p.host.answer = func(*internalv1.Command) machine.Result { return machine.Result{Response: &flotillav1.PutResponse{}} }
			_, r := p.put("t", "a")
			err := result(t, r).Err
			if c.ok {
				require.NoError(t, err)
				return
			}
			var unreachable *shards.UnreachableError
			require.ErrorAs(t, err, &unreachable)
			require.Empty(t, p.host.seen())
		})
	}
}
