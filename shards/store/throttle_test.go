package store

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestThrottleKeepsTheRateOfAllTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		th := &throttle{bytesPerSecond: 1000}
		start := time.Now()
		done := make(chan struct{})
		for range 2 {
			go func() {
				for range 10 {
					_ = th.wait(500, nil)
				}
				done <- struct{}{}
			}()
		}
		<-done
		<-done
		// 20 × 500 bytes; the last one is paid for after it was written.
		require.Equal(t, 9500*time.Millisecond, time.Since(start))

		<-time.After(time.Hour) // an idle time is no credit
		require.NoError(t, th.wait(1000, nil))
		require.NoError(t, th.wait(1000, nil))
		require.Equal(t, 9500*time.Millisecond+time.Hour+time.Second, time.Since(start))
	})
}

func TestThrottleStops(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	close(stop)
	require.ErrorIs(t, (&throttle{}).wait(1, stop), ErrStopped)
	th := &throttle{bytesPerSecond: 1}
	_ = th.wait(1<<20, nil)
	require.ErrorIs(t, th.wait(1, stop), ErrStopped)
}
