package process

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Certificates makes an authority and the certificates of a cluster's nodes with
// the program's own commands, and returns the directory for --cert-dir.
func Certificates(t *testing.T, nodes int) (dir string) {
	t.Helper()
	home, dir := NewHome(t), filepath.Join(t.TempDir(), "certs")
	result := home.Run(t, "cert", "ca", "--dir", dir)
	require.Zero(t, result.Code, result.Stderr)
	for i := range nodes {
		result = home.Run(t, "cert", "node", nodeName(i), "--dir", dir)
		require.Zero(t, result.Code, result.Stderr)
	}
	return dir
}
