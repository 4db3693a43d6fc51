package watch_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/watch"
)

func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{WatchBytesMax: 2000})
		c := newClient(t, s, watch.StreamConfig{})
		c.create(keySpec("a"))
		c.create(prefixSpec(""))
		c.next()
		c.Progress(1)
		synctest.Wait()
		require.Equal(t, []string{"1: progress @1"}, c.next())

		// It comes after what happened before.
		s.put("a", "2")
		c.Progress(2)
		synctest.Wait()
		require.ElementsMatch(t, []string{"1: a=2/2 @2", "2: a=2/2 @2", "2: progress @2"}, c.next())

		// Also when that is in the history.
		for i := range 50 {
			s.put("k", fmt.Sprint(i))
		}
		c.ProgressAll()
		s.put("k", "later")
		synctest.Wait()
		got := c.next()
		require.Len(t, got, 1)
		require.True(t, strings.HasSuffix(got[0], "k=6/9 @9"), "%s", got)
		got = c.next()
		require.Len(t, got, 1)
		require.True(t, strings.HasSuffix(got[0], "k=later/53 @53"), "%s", got)
		require.Equal(t, []string{"all: progress @52"}, c.next())
		c.nothing()
	})
}

func TestProgressOfAStreamWithoutWatches(t *testing.T) {
	t.Parallel()
	s := newShard(t, watch.Config{})
	c := newClient(t, s, watch.StreamConfig{})
	c.ProgressAll()
	require.Equal(t, []string{"all: progress @0"}, c.next())
}

func TestProgressOfAllWaitsForNoWatchThatEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{})
		c := newClient(t, s, watch.StreamConfig{})
		c.create(keySpec("a"))
		c.create(keySpec("b"))
		c.next()
		s.put("a", "2")
		c.ProgressAll()
		c.ProgressAll() // while one is under way: another follows
		synctest.Wait()
		c.Cancel(1)
		synctest.Wait()
		require.Equal(t, []string{"1: canceled resume=2 @1", "all: progress @2", "all: progress @2"}, c.next())
	})
}

func TestUnaskedProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{})
		c := newClient(t, s, watch.StreamConfig{ProgressInterval: 10 * time.Second})
		spec := keySpec("a")
		spec.Progress = true
		c.create(spec)
		c.create(keySpec("a"))
		c.next()
		s.put("b", "2")
		began := time.Now()
		require.Equal(t, []string{"1: progress @2"}, c.next())
		require.InDelta(t, 10, time.Since(began).Seconds(), 1)

		// A watch that told something is not asked.
		s.put("a", "3")
		require.Len(t, c.next(), 2)
		began = time.Now()
		require.Equal(t, []string{"1: progress @3"}, c.next())
		require.InDelta(t, 20, time.Since(began).Seconds(), 3)
	})
}
