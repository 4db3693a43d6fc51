package datadir_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/ops/datadir"
	"github.com/flotillakv/flotilla/shards"
)

func TestReplicasOutliveTheProcess(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir := open(t, path, datadir.Options{})
	require.False(t, dir.HasReplica(2, 1))
	require.Empty(t, dir.Replicas())

	require.NoError(t, dir.MarkReplica(2, 1))
	require.NoError(t, dir.MarkReplica(1, 5))
	require.NoError(t, dir.MarkReplica(2, 1))
	want := []datadir.Replica{{Shard: 1, Replica: 5}, {Shard: 2, Replica: 1}}
	require.Equal(t, want, dir.Replicas())
	require.NoError(t, dir.Close())

	// The logs are lost, the marks are not.
	require.NoError(t, os.RemoveAll(dir.Raft()))
	again := open(t, path, datadir.Options{})
	require.Equal(t, want, again.Replicas())
	require.True(t, again.HasReplica(2, 1))
	require.False(t, again.HasReplica(2, 5))
	require.False(t, again.HasReplica(1, 1))
}

func TestUnmarkedReplicaIsForgotten(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir := open(t, path, datadir.Options{})
	require.NoError(t, dir.MarkReplica(1, 5))
	require.NoError(t, dir.MarkReplica(2, 1))
	require.NoError(t, dir.UnmarkReplica(1, 5))
	require.NoError(t, dir.UnmarkReplica(1, 5), "again")
	require.NoError(t, dir.Close())
	require.Equal(t, []datadir.Replica{{Shard: 2, Replica: 1}}, open(t, path, datadir.Options{}).Replicas())
}

func TestMarkReplicaFromManyGoroutines(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir := open(t, path, datadir.Options{})
	var group sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		group.Go(func() { errs[i] = dir.MarkReplica(shards.ShardID(i), 1) })
	}
	group.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.NoError(t, dir.Close())
	require.Len(t, open(t, path, datadir.Options{}).Replicas(), len(errs))
}

func TestMarkReplicaThatIsNotWrittenDoesNotCount(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir := open(t, path, datadir.Options{})
	require.NoError(t, os.Mkdir(filepath.Join(path, "replicas.json.tmp"), 0o700))
	require.ErrorContains(t, dir.MarkReplica(1, 1), "mark replica 1 of shard 1")
	require.False(t, dir.HasReplica(1, 1))
}

func TestOpenRefusesDamagedReplicas(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"empty": "", "cut short": `{"replicas": [{"sha`, "unknown field": `{"replicas": [], "color": 1}`,
		"trailing": `{"replicas": []}{}`, "negative": `{"replicas": [{"shard": -1, "replica": 1}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir()
			require.NoError(t, open(t, path, datadir.Options{}).Close())
			file := filepath.Join(path, "replicas.json")
			require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
			_, err := datadir.Open(path, datadir.Options{})
			var damaged *datadir.DamagedError
			require.ErrorAs(t, err, &damaged)
			require.Equal(t, file, damaged.Path)
		})
	}
}
