package store

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// fakeFlushes lets a test end flushes one by one.
type fakeFlushes struct {
	*flusher
	begun     []chan struct{}
	successes int
}

func newFakeFlushes() *fakeFlushes {
	f := &fakeFlushes{flusher: newFlusher()}
	f.start = func() (<-chan struct{}, error) {
		f.begun = append(f.begun, make(chan struct{}))
		return f.begun[len(f.begun)-1], nil
	}
	f.succeeded = func() { f.successes++ }
	return f
}

// call flushes in the background; the answer is nil until it ended.
func (f *fakeFlushes) call() *[]error {
	answer := new([]error)
	go func() { *answer = append(*answer, f.flush(nil, nil)) }()
	synctest.Wait()
	return answer
}

func TestCallersShareTheFlushThatBeginsAfterThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFlushes()
		f.commits.Store(1)
		first := f.call()
		require.Len(t, f.begun, 1)

		f.commits.Store(2)
		second, third := f.call(), f.call()
		require.Len(t, f.begun, 1, "one flush at a time")
		close(f.begun[0])
		synctest.Wait()
		require.Equal(t, []error{nil}, *first)
		require.Empty(t, *second, "its batch may have missed the first flush")
		require.Len(t, f.begun, 2)
		f.commits.Store(3)
		close(f.begun[1])
		synctest.Wait()
		require.Equal(t, []error{nil}, *second)
		require.Equal(t, []error{nil}, *third)

		fourth := f.call()
		require.Empty(t, *fourth, "its batch was committed while the second flush ran")
		close(f.begun[2])
		synctest.Wait()
		require.Equal(t, []error{nil}, *fourth)
		require.Equal(t, []error{nil}, *f.call(), "nothing to flush")
		require.Len(t, f.begun, 3)
		require.Equal(t, 3, f.successes)
		f.close()
	})
}

func TestFailedFlushEndsTheWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFlushes()
		f.commits.Store(1)
		running := f.call()
		waiting := f.call()
		broken, other := errors.New("disk failed"), errors.New("compaction failed")
		f.ended(broken)
		f.backgroundError(other) // is not the flush's
		synctest.Wait()
		require.Empty(t, *running)
		f.backgroundError(broken)
		synctest.Wait()
		require.ErrorIs(t, (*running)[0], broken)
		require.ErrorIs(t, (*waiting)[0], broken)
		require.Equal(t, uint64(1), f.failures)

		// Pebble tried again and succeeded: who asks now is told so.
		again := f.call()
		close(f.begun[0])
		synctest.Wait()
		require.Len(t, f.begun, 2)
		close(f.begun[1])
		synctest.Wait()
		require.Equal(t, []error{nil}, *again)
		f.close()
	})
}

func TestStoppedFlushStopsWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFlushes()
		f.commits.Store(1)
		stop := make(chan struct{})
		close(stop)
		require.ErrorIs(t, f.flush(stop, func() error { return ErrStopped }), ErrStopped)
		f.close()
	})
}

func TestFatalErrorEndsAllFlushes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFlushes()
		f.commits.Store(1)
		running, waiting := f.call(), f.call()
		fatal := &FatalError{Reason: "no manifest"}
		f.fail(fatal)
		synctest.Wait()
		require.Equal(t, []error{fatal}, *running)
		require.Equal(t, []error{fatal}, *waiting)
		require.Equal(t, []error{fatal}, *f.call())
		f.close()
	})
}
