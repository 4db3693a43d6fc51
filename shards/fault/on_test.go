//go:build faults

package fault

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestStepSetsTheWallClockAlone: what is measured goes on as if nothing had been
// set.
func TestStepSetsTheWallClockAlone(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, seconds := range []int64{0, 1, 3600, -1, -86400} {
		set := step(now, seconds)
		require.Equal(t, now.UnixNano()+seconds*int64(time.Second), set.UnixNano())
		require.Equal(t, time.Duration(0), set.Sub(now))
		require.Equal(t, time.Second, set.Add(time.Second).Sub(now))
	}
}

func TestSettingsAreRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "faults.json")
	t.Setenv("FLOTILLA_FAULTS", path)
	require.Equal(t, settings{}, *read(path))
	require.NoError(t, os.WriteFile(path, []byte(`{"sync_delay_ms": 30, "clock_step_seconds": -7, "stale_reads": true}`), 0o600))
	require.Equal(t, settings{SyncDelayMS: 30, ClockStepSeconds: -7, StaleReads: true}, *read(path))
	require.Eventually(t, StaleReads, 10*time.Second, time.Millisecond)
	require.InDelta(t, -7, Now().Round(0).Sub(time.Now().Round(0)).Seconds(), 1)
	began := time.Now()
	BeforeSync()
	require.GreaterOrEqual(t, time.Since(began), 30*time.Millisecond)
	require.NoError(t, os.Remove(path))
	require.Eventually(t, func() bool { return !StaleReads() }, 10*time.Second, time.Millisecond)
}
