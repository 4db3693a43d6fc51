package mvcc_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/mvcc/mvcctest"
)

func TestDeleteKeysRemovesThoseThatExistInOneRevision(t *testing.T) {
	t.Parallel()
	w, st, h := mvcctest.NewStore(), mvcc.NewState(), mvcctest.NewHooks(7)
	for key, lease := range map[string]int64{"a": 7, "b": 0, "c": 7} {
		_, err := mvcc.Put(w, &st, h, &flotillav1.PutRequest{Key: []byte(key), Value: []byte("value"), Lease: lease})
		require.NoError(t, err)
	}
	before := st.Revision
	deleted, err := mvcc.DeleteKeys(w, &st, h, [][]byte{[]byte("c"), []byte("none"), []byte("a")})
	require.NoError(t, err)
	require.Equal(t, 2, deleted)
	require.Equal(t, mvcc.State{Revision: before + 1, Keys: 1, LiveBytes: 6}, st)
	require.Empty(t, h.Attached)
	_, events := w.Contents()
	require.Equal(t, []mvcctest.StoredEvent{
		{Revision: before + 1, Sub: 0, Key: "c"}, {Revision: before + 1, Sub: 1, Key: "a"},
	}, events[3:])

	deleted, err = mvcc.DeleteKeys(w, &st, h, [][]byte{[]byte("c"), []byte("none")})
	require.NoError(t, err)
	require.Zero(t, deleted)
	require.Equal(t, before+1, st.Revision, "removing nothing takes no revision")
}
