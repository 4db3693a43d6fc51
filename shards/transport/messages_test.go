package transport

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMessagesReachANodeThatStartedAgain: nothing was sent to it since, so that the
// connection of before is still there. The first message must not be lost with it.
func TestMessagesReachANodeThatStartedAgain(t *testing.T) {
	t.Parallel()
	for name, setup := range ways(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newDirectory()
			a, b := startNode(t, dir, "a", setup), startNode(t, dir, "b", setup)
			conn, ok := a.to("b").(*messageConn)
			require.True(t, ok)
			require.NoError(t, conn.SendMessageBatch(batch(1, nil)))
			receive(t, b.batches)
			require.NoError(t, b.Close())
			receive(t, conn.gone)
			b = startNode(t, dir, "b", setup)
			require.NoError(t, conn.SendMessageBatch(batch(2, nil)))
			got := receive(t, b.batches)
			require.Equal(t, uint64(2), got.Requests[0].Term)
			require.Equal(t, 1, a.metric("connections", "out", "messages"))
		})
	}
}
