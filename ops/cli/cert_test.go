package cli

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCertificatesAreMadeAndRenewed(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "certs")
	cert := func(line ...string) (code int, out, errOut string) {
		return run(t, append(append([]string{"cert"}, line...), "--dir", dir)...)
	}
	node := func() tls.Certificate {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "node-n1.crt"), filepath.Join(dir, "node-n1.key"))
		require.NoError(t, err)
		return pair
	}
	code, _, says := cert("node", "n1")
	require.Equal(t, 1, code)
	require.Contains(t, says, "flotilla cert ca")
	code, out, _ := cert("ca")
	require.Zero(t, code)
	require.Equal(t, filepath.Join(dir, "ca.crt")+"\n"+filepath.Join(dir, "ca.key")+"\n", out)
	code, _, says = cert("node", "n1", "--renew")
	require.Equal(t, 1, code)
	require.Contains(t, says, "node-n1.crt: no such file")

	code, _, _ = cert("node", "n1", "--host", "n1.example,10.0.0.1", "--valid", "1h")
	require.Zero(t, code)
	first := node()
	code, _, says = cert("node", "n1")
	require.Equal(t, 1, code)
	require.Contains(t, says, "renew a node's with --renew")
	code, out, _ = cert("node", "n1", "--renew")
	require.Zero(t, code)
	require.Contains(t, out, "node-n1.crt\n")
	second := node()
	require.Equal(t, []string{"n1.example"}, second.Leaf.DNSNames)
	require.Greater(t, second.Leaf.NotAfter.Sub(first.Leaf.NotAfter), 300*24*time.Hour)
	code, _, _ = cert("node", "n1", "--renew", "--host", "n2.example")
	require.Zero(t, code)
	require.Equal(t, []string{"n2.example"}, node().Leaf.DNSNames)

	info, err := os.Stat(filepath.Join(dir, "node-n1.key"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}
