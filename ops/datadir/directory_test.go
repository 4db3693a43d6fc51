package datadir_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/flotillakv/flotilla/ops/datadir"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

func TestDirectoryOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir := open(t, path, datadir.Options{})
	none, err := dir.LoadDirectory()
	require.NoError(t, err)
	require.Empty(t, none.GetNodes())
	want := &internalv1.Directory{
		Nodes:    map[string]*internalv1.NodeRecord{"n": {Name: "n1", PeerAddress: "127.0.0.1:7701"}},
		Revision: 17,
	}
	require.NoError(t, dir.SaveDirectory(want))
	require.NoError(t, dir.Close())
	got, err := open(t, path, datadir.Options{}).LoadDirectory()
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(want, got, protocmp.Transform()))
}

// TestUnreadableDirectoryIsNone: it is a copy of what the others know.
func TestUnreadableDirectoryIsNone(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"garbage": "}{", "newer": `{"format_version": 99, "directory": {}}`, "other": `{"format_version": 1, "directory": 5}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir()
			dir := open(t, path, datadir.Options{})
			require.NoError(t, os.WriteFile(filepath.Join(path, "directory.json"), []byte(text), 0o600))
			got, err := dir.LoadDirectory()
			require.ErrorContains(t, err, "directory of nodes")
			require.Empty(t, got.GetNodes())
		})
	}
}

func TestRecordedIdentity(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	_, ok, err := datadir.Recorded(path)
	require.NoError(t, err)
	require.False(t, ok)
	dir := open(t, path, datadir.Options{})
	got, ok, err := datadir.Recorded(path)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, dir.Identity().NodeID, got.NodeID)
	require.Equal(t, dir.Identity().ClusterID, got.ClusterID)
	require.NoError(t, os.WriteFile(filepath.Join(path, "identity.json"), []byte("{}"), 0o600))
	_, _, err = datadir.Recorded(path)
	require.ErrorAs(t, err, new(*datadir.DamagedError))
}
