package transport

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Each way in which two nodes do not belong together is told on the side that
// dials, counted on both, and ends that connection alone.
func TestRefusals(t *testing.T) {
	t.Parallel()
	ca, foreign := newAuthority(t), newAuthority(t)
	with := func(from *authority, change func(*x509.Certificate)) func(*Config) {
		return func(cfg *Config) { ca.secure(cfg, from.issue(change)) }
	}
	node := with(ca, nil)
	expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	uses := func(u ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = u }
	}
	for name, test := range map[string]struct {
		a, b     func(*Config)
		says     string
		why      reason
		counted  reason
		uncounts bool // nothing reaches the other side
	}{
		"another cluster": {
			b:    func(cfg *Config) { cfg.ClusterID = "d" },
			says: `it belongs to cluster "d", and this node to "c": correct the address`, why: reasonCluster, counted: reasonCluster,
		},
		"another node": {
			b:    func(cfg *Config) { cfg.NodeID = "e" },
			says: `you reached node "e", not "b": correct the address`, why: reasonNode, counted: reasonNode,
		},
		"expired here":               {a: with(ca, expired), b: node, says: "expired certificate", why: reasonTLS, counted: reasonTLS},
		"expired there":              {a: node, b: with(ca, expired), says: "certificate has expired", why: reasonTLS, counted: reasonTLS},
		"foreign authority here":     {a: with(foreign, nil), b: node, says: "unknown certificate authority", why: reasonTLS, counted: reasonTLS},
		"foreign authority there":    {a: node, b: with(foreign, nil), says: "signed by unknown authority", why: reasonTLS, counted: reasonTLS},
		"client's certificate here":  {a: with(ca, uses(x509.ExtKeyUsageClientAuth)), b: node, says: "bad certificate", why: reasonTLS, counted: reasonTLS},
		"client's certificate there": {a: node, b: with(ca, uses(x509.ExtKeyUsageClientAuth)), says: "incompatible key usage", why: reasonTLS, counted: reasonTLS},
		"server's certificate here":  {a: with(ca, uses(x509.ExtKeyUsageServerAuth)), b: node, says: "bad certificate", why: reasonTLS, counted: reasonTLS},
		"server's certificate there": {a: node, b: with(ca, uses(x509.ExtKeyUsageServerAuth)), says: "good for servers and for clients", why: reasonTLS, counted: reasonTLS},
		"certificate for elsewhere": {
			a: node, b: with(ca, func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"elsewhere.example"} }),
			says: "cannot validate certificate for 127.0.0.1", why: reasonTLS, counted: reasonTLS,
		},
		"no TLS here":  {b: node, says: "both nodes use TLS or neither does", why: reasonClosed, counted: reasonTLS},
		"no TLS there": {a: node, says: "both nodes use TLS or neither does", why: reasonClosed, counted: reasonMalformed},
		"no address": {
			a:    func(cfg *Config) { cfg.Resolve = func(string) (string, bool) { return "", false } },
			says: "no address of it is known: start the node", why: reasonAddress, uncounts: true,
		},
		"address without a port": {
			a:    func(cfg *Config) { cfg.Resolve = func(string) (string, bool) { return "127.0.0.1", true } },
			says: "missing port", why: reasonDial, uncounts: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newDirectory()
			a, b := startNode(t, dir, "a", test.a), startNode(t, dir, "b", test.b)
			dir.set("b", b.address)
			for range 2 {
				failed := a.refused("b")
				require.ErrorContains(t, failed, test.says)
				require.ErrorContains(t, failed, "reach node b")
				require.Equal(t, test.why, failed.reason)
			}
			require.Equal(t, 2, a.metric("failed_connects_total", string(test.why)))
			require.Equal(t, 1, strings.Count(a.log.String(), "node cannot be reached"), a.log)
			if !test.uncounts {
				b.eventually("refused_handshakes_total", 2, string(test.counted))
			}
			require.Empty(t, b.batches)
		})
	}
}

// A port that speaks TLS for another protocol is not taken for a Raft port.
func TestOtherPortOfANodeIsRefused(t *testing.T) {
	t.Parallel()
	ca, dir := newAuthority(t), newDirectory()
	own := ca.issue(nil)
	a := startNode(t, dir, "a", func(cfg *Config) { ca.secure(cfg, own) })
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{own}, NextProtos: []string{"h2"}})
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Read(make([]byte, 1)) // shakes hands
		_ = conn.Close()
	}()
	dir.set("b", listener.Addr().String())
	require.ErrorContains(t, a.refused("b"), "no application protocol")
}

func TestOlderTLSIsRefused(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	b := startNode(t, newDirectory(), "b", func(cfg *Config) {
		ca.secure(cfg, ca.issue(nil))
		cfg.ServerTLS.MinVersion = tls.VersionTLS10 // is raised
		cfg.ServerTLS.ClientAuth = tls.NoClientCert // likewise
		cfg.ServerTLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{Certificates: cfg.ServerTLS.Certificates}, nil // is not asked
		}
	})
	for name, cfg := range map[string]*tls.Config{
		"TLS 1.2":        {Certificates: []tls.Certificate{ca.issue(nil)}, MaxVersion: tls.VersionTLS12},
		"no certificate": {},
	} {
		cfg.RootCAs, cfg.ServerName, cfg.NextProtos = ca.pool(), "127.0.0.1", []string{alpn}
		conn, err := tls.Dial("tcp", b.address, cfg)
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
		require.ErrorContains(t, err, "remote error: tls", name)
	}
	b.eventually("refused_handshakes_total", 2, string(reasonTLS))
}

func TestStrictConfigurationsLeaveTheirsAlone(t *testing.T) {
	t.Parallel()
	require.Nil(t, strictServer(nil))
	require.Nil(t, strictClient(nil))
	called := false
	theirs := &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error {
		called = true
		return net.ErrClosed
	}}
	strict := strictClient(theirs)
	require.False(t, strict.InsecureSkipVerify)
	require.True(t, theirs.InsecureSkipVerify)
	require.ErrorIs(t, strict.VerifyConnection(tls.ConnectionState{}), errNoCertificate)
	require.False(t, called)
	both := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	require.ErrorIs(t, strict.VerifyConnection(tls.ConnectionState{PeerCertificates: []*x509.Certificate{both}}), net.ErrClosed)
	require.True(t, called)
}

// The library tries again and again, and the log says it once in a while.
func TestComplaintsDoNotRepeatThemselves(t *testing.T) {
	t.Parallel()
	c := complaints{told: make(map[complaint]time.Time)}
	now := time.Now()
	require.True(t, c.due(complaint{"a", reasonDial}, now))
	require.False(t, c.due(complaint{"a", reasonDial}, now.Add(complaintPause-1)))
	require.True(t, c.due(complaint{"a", reasonTLS}, now), "another reason")
	require.True(t, c.due(complaint{"b", reasonDial}, now), "another node")
	require.True(t, c.due(complaint{"a", reasonDial}, now.Add(complaintPause)))
	require.False(t, c.due(complaint{"a", reasonDial}, now.Add(complaintPause+1)))

	require.True(t, c.forget("a"))
	require.False(t, c.forget("a"))
	require.False(t, c.due(complaint{"b", reasonDial}, now.Add(1)))
	require.True(t, c.due(complaint{"a", reasonDial}, now))
	for i := range 3 * complaintsMax {
		c.due(complaint{strings.Repeat("x", i%64) + string(rune(i)), reasonDial}, now)
		require.LessOrEqual(t, len(c.told), complaintsMax)
	}
}
