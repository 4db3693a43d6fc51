package placement_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement"
	"github.com/flotillakv/flotilla/placement/catalog"
)

// signs keeps signs of life as the catalog does, with leases that end.
type signs struct {
	mu     sync.Mutex
	down   error
	cloned error
	lease  int64
	until  time.Time // of the lease
	shown  int64     // the lease that the sign hangs on
	grants int
}

func (s *signs) GrantLiveLease(_ context.Context, ttl time.Duration) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return 0, s.down
	}
	s.grants++
	s.lease, s.until = int64(s.grants), time.Now().Add(ttl)
	return s.lease, nil
}

func (s *signs) KeepLive(_ context.Context, lease int64) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil || lease != s.lease || time.Now().After(s.until) {
		return false, s.down
	}
	s.until = time.Now().Add(10 * time.Second)
	return true, nil
}

func (s *signs) ShowLive(_ context.Context, _, _ string, lease int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil || s.cloned != nil {
		return errors.Join(s.down, s.cloned)
	}
	s.shown = lease
	return nil
}

func (s *signs) EndLive(_ context.Context, lease int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lease == s.lease {
		s.until = time.Time{}
	}
	return s.down
}

func (s *signs) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown == s.lease && time.Now().Before(s.until)
}

func (s *signs) set(down, cloned error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down, s.cloned = down, cloned
}

func startLife(t *testing.T, s *signs) (cloned <-chan error, stop func()) {
	t.Helper()
	clones := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	life := placement.NewLife(s, placement.Self{NodeID: "n", BootID: "b"}, func(err error) { clones <- err }, slog.New(slog.DiscardHandler))
	go func() { ended <- life.Run(ctx) }()
	return clones, func() { cancel(); require.NoError(t, <-ended) }
}

// A node is alive from its first moment until it stops, whatever happens to two
// renewals in a row; after an outage it is alive again at once.
func TestLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &signs{}
		_, stop := startLife(t, s)
		synctest.Wait()
		require.True(t, s.alive())
		for range 100 {
			sleep(t, time.Second)
			require.True(t, s.alive())
		}
		s.set(errors.New("down"), nil)
		sleep(t, 6*time.Second)
		s.set(nil, nil)
		sleep(t, time.Second)
		require.True(t, s.alive())
		require.Equal(t, 1, s.grants)

		s.set(errors.New("down"), nil)
		sleep(t, 30*time.Second)
		require.False(t, s.alive())
		s.set(nil, nil)
		sleep(t, time.Second)
		require.True(t, s.alive())
		require.Equal(t, 2, s.grants, "the lease was lost")
		stop()
		require.False(t, s.alive(), "the others know at once")
	})
}

// A process in whose place another has joined is told, and shows nothing more.
func TestLifeOfAClone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &signs{cloned: &catalog.ClonedError{NodeID: "n", BootID: "the process before"}}
		cloned, stop := startLife(t, s)
		sleep(t, time.Minute)
		require.Empty(t, cloned, "it has not joined yet")
		s.set(nil, nil)
		sleep(t, time.Minute)
		require.True(t, s.alive())
		s.set(nil, &catalog.ClonedError{NodeID: "n", BootID: "other"})
		require.ErrorAs(t, <-cloned, new(*catalog.ClonedError))
		stop()
		s.set(errors.New("down"), nil)
		_, stop = startLife(t, s)
		synctest.Wait()
		stop() // also when there never was a sign
	})
}

// sleep lets time pass in a bubble.
func sleep(t *testing.T, d time.Duration) {
	t.Helper()
	<-time.After(d)
	synctest.Wait()
}
