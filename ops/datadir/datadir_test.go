package datadir_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/ops/datadir"
)

var created = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// open opens a directory and gives it back when the test ends.
func open(t *testing.T, path string, opts datadir.Options) *datadir.Dir {
	t.Helper()
	opts.Now = created
	dir, err := datadir.Open(path, opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = dir.Close() })
	return dir
}

func TestOpenMakesADirectoryOfItsOwn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deep", "data")
	dir := open(t, path, datadir.Options{})

	require.Equal(t, path, dir.Path())
	require.Equal(t, filepath.Join(path, "state"), dir.State())
	require.Equal(t, filepath.Join(path, "raft"), dir.Raft())
	for _, name := range []string{path, dir.State(), dir.Raft()} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o700)|fs.ModeDir, info.Mode(), name)
	}
	identity := dir.Identity()
	require.Equal(t, datadir.FormatVersion, identity.FormatVersion)
	require.Equal(t, datadir.Layout{LogStoreShards: 1, ExecShards: 1}, identity.Layout)
	require.Equal(t, created, identity.Created)
	require.NotEqual(t, identity.NodeID, identity.ClusterID)
}

func TestIdentityStays(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	layout := datadir.Layout{LogStoreShards: 2, ExecShards: 4}
	first := open(t, path, datadir.Options{Layout: layout})
	require.NoError(t, first.Close())

	again := open(t, path, datadir.Options{Layout: layout, ClusterID: first.Identity().ClusterID})
	require.Equal(t, first.Identity(), again.Identity())
	require.NoError(t, again.Close())

	recorded := open(t, path, datadir.Options{})
	require.Equal(t, first.Identity(), recorded.Identity())

	other := open(t, t.TempDir(), datadir.Options{})
	require.NotEqual(t, first.Identity().NodeID, other.Identity().NodeID)
	require.NotEqual(t, first.Identity().ClusterID, other.Identity().ClusterID)
}

// TestIdentityFile holds the form of the file: the next version reads it.
func TestIdentityFile(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	const cluster = "00000000-1111-4222-8333-444444444444"
	dir := open(t, path, datadir.Options{ClusterID: cluster})
	data, err := os.ReadFile(filepath.Join(path, "identity.json"))
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(data, &got))
	require.Equal(t, map[string]any{
		"format_version":   1.0,
		"node_id":          dir.Identity().NodeID,
		"cluster_id":       cluster,
		"log_store_shards": 1.0,
		"exec_shards":      1.0,
		"created":          "2026-03-01T12:00:00Z",
	}, got)
}

func TestOpenRefusesOtherOptions(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	first := open(t, path, datadir.Options{Layout: datadir.Layout{LogStoreShards: 2, ExecShards: 2}})
	require.NoError(t, first.Close())

	_, err := datadir.Open(path, datadir.Options{Layout: datadir.Layout{ExecShards: 3}})
	var layout *datadir.LayoutError
	require.ErrorAs(t, err, &layout)
	require.Equal(t, datadir.Layout{LogStoreShards: 2, ExecShards: 2}, layout.Recorded)
	require.Equal(t, datadir.Layout{LogStoreShards: 2, ExecShards: 3}, layout.Wanted)

	_, err = datadir.Open(path, datadir.Options{ClusterID: "00000000-1111-4222-8333-444444444444"})
	var cluster *datadir.ClusterError
	require.ErrorAs(t, err, &cluster)
	require.Equal(t, first.Identity().ClusterID, cluster.Recorded)

	// A refusal gives the directory back.
	open(t, path, datadir.Options{})
}

func TestOpenRefusesANewerVersion(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	// The fields of a newer version may differ in every way.
	const newer = `{"format_version": 2, "node": {"id": 7}}`
	require.NoError(t, os.WriteFile(filepath.Join(path, "identity.json"), []byte(newer), 0o600))

	_, err := datadir.Open(path, datadir.Options{})
	var version *datadir.NewerVersionError
	require.ErrorAs(t, err, &version)
	require.Equal(t, &datadir.NewerVersionError{Path: path, Found: 2, Supported: 1}, version)
	require.ErrorContains(t, err, "start the version of flotilla that wrote it")
	data, err := os.ReadFile(filepath.Join(path, "identity.json"))
	require.NoError(t, err)
	require.JSONEq(t, newer, string(data))
}

func TestOpenRefusesDamage(t *testing.T) {
	t.Parallel()
	valid := func(t *testing.T) map[string]any {
		t.Helper()
		path := t.TempDir()
		require.NoError(t, open(t, path, datadir.Options{}).Close())
		data, err := os.ReadFile(filepath.Join(path, "identity.json"))
		require.NoError(t, err)
		var fields map[string]any
		require.NoError(t, json.Unmarshal(data, &fields))
		return fields
	}
	change := func(name string, value any) func(t *testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			fields := valid(t)
			fields[name] = value
			data, err := json.Marshal(fields)
			require.NoError(t, err)
			return string(data)
		}
	}
	tests := map[string]func(t *testing.T) string{
		"empty":              func(*testing.T) string { return "" },
		"cut short":          func(*testing.T) string { return `{"format_version": 1, "node` },
		"no version":         change("format_version", 0),
		"unknown field":      change("color", "blue"),
		"no node":            change("node_id", ""),
		"node is no UUID":    change("node_id", "../../etc"),
		"no cluster":         change("cluster_id", ""),
		"no log stores":      change("log_store_shards", 0),
		"no writers":         change("exec_shards", 0),
		"negative":           change("exec_shards", -1),
		"created is no time": change("created", "yesterday"),
	}
	for name, content := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(path, "identity.json"), []byte(content(t)), 0o600))
			_, err := datadir.Open(path, datadir.Options{})
			var damaged *datadir.DamagedError
			require.ErrorAs(t, err, &damaged)
			require.Equal(t, filepath.Join(path, "identity.json"), damaged.Path)
		})
	}
}

// TestOpenRefusesDataWithoutIdentity: a new identity would disown the data.
func TestOpenRefusesDataWithoutIdentity(t *testing.T) {
	t.Parallel()
	for _, left := range []string{"state", "raft", "replicas.json"} {
		t.Run(left, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir()
			dir := open(t, path, datadir.Options{})
			require.NoError(t, dir.MarkReplica(1, 1))
			require.NoError(t, dir.Close())
			for _, name := range []string{"identity.json", "state", "raft", "replicas.json"} {
				if name != left {
					require.NoError(t, os.RemoveAll(filepath.Join(path, name)))
				}
			}
			_, err := datadir.Open(path, datadir.Options{})
			var damaged *datadir.DamagedError
			require.ErrorAs(t, err, &damaged)
			require.ErrorContains(t, err, left+" is there")
		})
	}
}

func TestOpenSurvivesWhatACrashLeaves(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	for _, name := range []string{"identity.json.tmp", "LOCK"} {
		require.NoError(t, os.WriteFile(filepath.Join(path, name), []byte("123456789 half of"), 0o600))
	}
	first := open(t, path, datadir.Options{})
	require.NoError(t, os.WriteFile(filepath.Join(path, "replicas.json.tmp"), []byte(strings.Repeat("x", 4096)), 0o600))
	require.NoError(t, first.MarkReplica(1, 1))
	require.NoError(t, first.Close())
	again := open(t, path, datadir.Options{})
	require.Equal(t, first.Identity(), again.Identity())
	require.True(t, again.HasReplica(1, 1))
}

func TestOpenRefusesSettingsOfTheConsensusLibrary(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"dragonboat-hard-settings.json", "dragonboat-soft-settings.json"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			working, path := t.TempDir(), filepath.Join(t.TempDir(), "data")
			file := filepath.Join(working, name)
			require.NoError(t, os.WriteFile(file, []byte("{}"), 0o600))
			_, err := datadir.Open(path, datadir.Options{WorkingDir: working})
			var settings *datadir.SettingsFileError
			require.ErrorAs(t, err, &settings)
			require.Equal(t, file, settings.Path)
			require.NoDirExists(t, path)
		})
	}
}

func TestOpenRefusesAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := datadir.Open(path, datadir.Options{})
	require.ErrorContains(t, err, "is not a directory")
}
