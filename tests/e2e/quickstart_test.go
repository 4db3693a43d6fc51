package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tests/process"
)

func TestMain(m *testing.M) { os.Exit(process.Main(m)) }

// TestQuickStart does what the README tells a newcomer to do.
func TestQuickStart(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	require.Equal(t, "dev", node.Info.Tenant)
	require.Equal(t, "default", node.Info.Namespace)
	require.Contains(t, node.Output(), "export FLOTILLA_API_KEY="+node.Info.APIKey)
	c := curlOf(node)
	c.put(t, "/v1/kv/greeting", "hello").ok(t)
	require.Equal(t, "hello", c.get(t, "/v1/kv/greeting").ok(t).body)
	require.Equal(t, "hello", node.Home.Run(t, "kv", "get", "greeting").Stdout, "the command finds the node by itself")

	info, err := os.Stat(filepath.Join(node.DataDir, "dev.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "dev.json has a secret")

	operators := curl{base: node.Info.OpsURL}
	for _, path := range []string{"/healthz", "/readyz", "/status", "/debug/pprof/cmdline"} {
		operators.get(t, path).ok(t)
	}
	require.Contains(t, operators.get(t, "/metrics").ok(t).body, "flotilla_")

	node.Stop(t)
	key := node.Info.APIKey
	node.Start(t)
	require.Equal(t, key, node.Info.APIKey, "a second start keeps the key")
	require.Equal(t, "hello", curlOf(node).get(t, "/v1/kv/greeting").ok(t).body, "and the data")

	// A damaged or lost dev.json costs a new key, and no data.
	node.Stop(t)
	require.NoError(t, os.WriteFile(filepath.Join(node.DataDir, "dev.json"), []byte("{"), 0o600))
	node.Start(t)
	require.NotEqual(t, key, node.Info.APIKey)
	require.Equal(t, "hello", curlOf(node).get(t, "/v1/kv/greeting").ok(t).body)
}
