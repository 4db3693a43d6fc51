package catalog

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A node that starts before there is anybody to answer has no news of that, and none
// when it is answered for the first time, at whichever moment.
func TestReachingTheSystemShardIsNewsOnceItWasReached(t *testing.T) {
	t.Parallel()
	for _, reached := range []time.Duration{0, time.Second} {
		tr := &trust{}
		tr.begin(time.Minute, time.Now)
		if reached > 0 {
			require.False(t, tr.failed(0), "it never was")
			require.True(t, tr.unreachable.Load())
		}
		require.False(t, tr.answered(reached, 1), "for the first time")
		require.True(t, tr.failed(2*time.Second))
		require.False(t, tr.failed(3*time.Second), "it is known")
		require.True(t, tr.answered(4*time.Second, 1))
	}
}
