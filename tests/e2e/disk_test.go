package e2e

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	flotilla "github.com/flotillakv/flotilla/sdk/go"
	"github.com/flotillakv/flotilla/tests/process"
)

// TestFullDisk asks the node to keep more free space than any disk has.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	curlOf(node).put(t, "/v1/kv/k", "kept").ok(t)
	node.Stop(t)

	node.Start(t, "--disk-reserve-bytes", "1000000000000000000")
	c := curlOf(node)
	refused := c.put(t, "/v1/kv/k", "lost")
	refused.refused(t, http.StatusInsufficientStorage, flotillav1.Reason_REASON_DISK_FULL)
	require.NotEmpty(t, refused.header.Get("Retry-After"))
	c.delete(t, "/v1/kv/k").refused(t, http.StatusInsufficientStorage, flotillav1.Reason_REASON_DISK_FULL)
	require.Equal(t, "kept", c.get(t, "/v1/kv/k").ok(t).body, "reads are served")
	kv := node.Client(t).Namespace(node.Info.Namespace).KV
	_, err := kv.Put(t.Context(), "k", []byte("lost"), nil)
	require.ErrorIs(t, err, flotilla.ErrDiskFull)
	require.False(t, flotilla.OutcomeUnknown(err))
	require.Equal(t, tryAgain, node.Home.Run(t, "kv", "put", "k", "lost").Code)
	require.NoError(t, kv.Compact(t.Context(), 2), "what frees space is let in")
	operators := curl{base: node.Info.OpsURL}
	notReady := operators.get(t, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, notReady.status)
	require.Contains(t, notReady.body, "disk")

	node.Stop(t)
	node.Start(t, "--disk-reserve-bytes", "1048576")
	c = curlOf(node)
	require.Equal(t, "kept", c.get(t, "/v1/kv/k").ok(t).body)
	c.put(t, "/v1/kv/k", "new").ok(t)
}
