package e2e

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tests/process"
)

// TestSettings gives the same setting in its three spellings.
func TestSettings(t *testing.T) {
	t.Parallel()
	home := process.NewHome(t)
	file := filepath.Join(home.Dir, "flotilla.yaml")
	write := func(text string) {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	directory := func(name string) string { return filepath.Join(home.Dir, name) }
	ports := []string{"--listen-api", "127.0.0.1:0", "--listen-ops", "127.0.0.1:0", "--listen-etcd", "127.0.0.1:0"}

	// A node that cannot start tells which directory it would have used.
	write("data_dir: " + directory("from-file") + "\nlisten_ops: nonsense\n")
	for _, dir := range []string{"from-file", "from-environment", "from-flag"} {
		require.NoError(t, os.WriteFile(directory(dir), nil, 0o600)) // not a directory
	}
	require.Contains(t, home.Run(t, "dev", "--config", file).Stderr, "--listen-ops", "the file is read")
	require.Contains(t, home.With("FLOTILLA_CONFIG="+file).Run(t, append([]string{"dev"}, ports...)...).Stderr, "from-file")
	environment := home.With("FLOTILLA_CONFIG="+file, "FLOTILLA_DATA_DIR="+directory("from-environment"))
	require.Contains(t, environment.Run(t, append([]string{"dev"}, ports...)...).Stderr, "from-environment")
	require.Contains(t, environment.Run(t, append([]string{"dev", "--data-dir", directory("from-flag")}, ports...)...).Stderr, "from-flag")

	write("data_dri: x\nlisten_api: 127.0.0.1:0\n")
	wrong := home.With("FLOTILLA_DATA_SHARDS=many").Run(t, "dev", "--config", file)
	require.Equal(t, usage, wrong.Code)
	require.Contains(t, wrong.Stderr, "data_dri is not a setting")
	require.Contains(t, wrong.Stderr, "FLOTILLA_DATA_SHARDS", "all that is wrong is told at once")
	require.Equal(t, usage, home.Run(t, "dev", "--config", directory("missing.yaml")).Code)
	require.Equal(t, usage, home.Run(t, "dev", "--nonsense").Code)
}

func TestContextFile(t *testing.T) {
	t.Parallel()
	home := process.NewHome(t)
	none := home.Run(t, "kv", "get", "k")
	require.Equal(t, usage, none.Code)
	require.Contains(t, none.Stderr, "flotilla dev")

	first := home.Dev(t, filepath.Join(home.Dir, "first"))
	second := home.Dev(t, filepath.Join(home.Dir, "second"))
	require.Zero(t, home.Run(t, "kv", "put", "k", "v").Code)
	require.Equal(t, "v", curlOf(second).get(t, "/v1/kv/k").ok(t).body, "the node that started last is meant")
	curlOf(first).put(t, "/v1/kv/k", "first").ok(t)
	toFirst := home.With("FLOTILLA_API_URL="+first.Info.APIURL, "FLOTILLA_API_KEY="+first.Info.APIKey)
	require.Equal(t, "first", toFirst.Run(t, "kv", "get", "k").Stdout)

	elsewhere := home.Run(t, "kv", "get", "k", "--api-url", first.Info.APIURL)
	require.Equal(t, usage, elsewhere.Code, "a key is sent to its own node alone")
	require.Contains(t, elsewhere.Stderr, "FLOTILLA_API_KEY")
}

// TestRefusedStarts starts nodes that must not run: each says why, and leaves
// what is there as it is.
func TestRefusedStarts(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	curlOf(node).put(t, "/v1/kv/k", "kept").ok(t)
	identity := filepath.Join(node.DataDir, "identity.json")
	start := func(t *testing.T, code int, dataDir, why string, flags ...string) {
		t.Helper()
		args := append([]string{
			"dev", "--data-dir", dataDir, "--listen-api", "127.0.0.1:0", "--listen-ops", "127.0.0.1:0", "--listen-etcd", "127.0.0.1:0",
		}, flags...)
		got := process.NewHome(t).Run(t, args...)
		require.Equal(t, code, got.Code, "%s%s", got.Stdout, got.Stderr)
		require.Contains(t, got.Stderr, why)
		require.NotContains(t, got.Stdout, "ready")
	}
	refused := func(t *testing.T, dataDir, why string, flags ...string) {
		t.Helper()
		start(t, failed, dataDir, why, flags...)
	}
	wrong := func(t *testing.T, why string, flags ...string) {
		t.Helper()
		start(t, usage, filepath.Join(t.TempDir(), "data"), why, flags...)
	}
	free := func() string { return filepath.Join(t.TempDir(), "data") }

	t.Run("directory in use", func(t *testing.T) { refused(t, node.DataDir, "in use by process") })
	t.Run("API port in use", func(t *testing.T) {
		taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer taken.Close()
		refused(t, free(), "--listen-api", "--listen-api", taken.Addr().String())
		refused(t, free(), "--listen-ops", "--listen-ops", taken.Addr().String())
	})
	t.Run("open to others", func(t *testing.T) {
		wrong(t, "use a loopback address", "--listen-api", "0.0.0.0:0")
		wrong(t, "use a loopback address", "--listen-ops", ":0")
		wrong(t, "use a loopback address", "--listen-api", "192.0.2.1:7700")
	})
	t.Run("shards", func(t *testing.T) { wrong(t, "--data-shards", "--data-shards", "0x1000") })
	require.Equal(t, "kept", curlOf(node).get(t, "/v1/kv/k").ok(t).body, "the node was not disturbed")

	node.Stop(t)
	refused(t, node.DataDir, "shards are not taken away", "--data-shards", "2")
	state, away := filepath.Join(node.DataDir, "state"), filepath.Join(t.TempDir(), "state")
	require.NoError(t, os.Rename(state, away))
	refused(t, node.DataDir, "the state is missing")
	require.NoError(t, os.Rename(away, state))
	written, err := os.ReadFile(identity)
	require.NoError(t, err)
	for name, tt := range map[string]struct{ text, why string }{
		"newer version": {`{"format_version": 1000}`, "format version 1000"},
		"damaged":       {`{"format_version"`, "identity.json"},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(identity, []byte(tt.text), 0o600))
			refused(t, node.DataDir, tt.why)
		})
	}
	require.NoError(t, os.Remove(identity))
	refused(t, node.DataDir, "identity.json")
	require.NoError(t, os.WriteFile(identity, written, 0o600))
	node.Start(t)
	require.Equal(t, "kept", curlOf(node).get(t, "/v1/kv/k").ok(t).body)
}
