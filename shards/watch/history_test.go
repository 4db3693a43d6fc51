package watch_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/watch"
)

// A snapshot may replace the state between the moment at which a watch reads the
// revision and the one at which it goes live.
func TestAWatchThatBeginsWhileTheStateIsReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{})
		c := newClient(t, s, watch.StreamConfig{})
		spec := keySpec("a")
		spec.From = 2
		s.afterRead = func() {
			s.writeUnseen(s.putting("a", "unseen"))
			s.recorder.Restored()
			synctest.Wait()
		}
		c.create(spec)
		require.Equal(t, []string{"1: created @0"}, c.next())
		require.Equal(t, []string{"1: a=unseen/2 @2"}, c.next())
		s.put("a", "seen")
		synctest.Wait()
		require.Equal(t, []string{"1: a=seen/3 @3"}, c.next())
	})
}

// The recent events are of one piece also after a time in which nobody needed
// them.
func TestAWatchFallsBehindAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{WatchBytesMax: 1000})
		c := newClient(t, s, watch.StreamConfig{})
		c.create(prefixSpec(""))
		c.next()
		n := 0
		seen := 0
		burst := func(writes int) {
			for range writes {
				s.put("k", fmt.Sprint(n))
				n++
			}
			synctest.Wait()
			for seen < n {
				answers, err := c.Next(t.Context(), nil)
				require.NoError(t, err)
				for _, a := range answers {
					for _, e := range a.Events {
						require.Equal(t, fmt.Sprint(seen), string(e.Version.Value))
						seen++
					}
				}
			}
		}
		burst(20) // behind
		for range 5 {
			burst(1) // live
		}
		burst(20)
		burst(1)
		require.Equal(t, 1, s.reads, "of the revision, when the watch began")

		// Another watch begins where none was behind, while one is again.
		for range 20 {
			s.put("k", fmt.Sprint(n))
			n++
		}
		synctest.Wait()
		other := newClient(t, s, watch.StreamConfig{})
		spec := prefixSpec("")
		spec.From = 2 + 22 // among those that were live
		other.create(spec)
		for next := 22; next < n; {
			answers, err := other.Next(t.Context(), nil)
			require.NoError(t, err)
			for _, a := range answers {
				for _, e := range a.Events {
					require.Equal(t, fmt.Sprint(next), string(e.Version.Value))
					next++
				}
			}
		}
	})
}

// Some events of an answer may be given back, because the versions before them
// are too large for it. Until they are given out, nobody is told that all were.
func TestNoNoticeOvertakesEventsThatAreGivenBack(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 44<<10)
	for _, test := range []struct {
		name   string
		recent int
		fall   bool
	}{
		{name: "live"}, {name: "from recent events", recent: 8 << 20, fall: true}, {name: "from disk", recent: 1, fall: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cfg := watch.Config{RecentBytesMax: test.recent}
				if test.fall {
					cfg.WatchBytesMax = 1
				}
				s := newShard(t, cfg)
				for i := range 4 {
					s.put(fmt.Sprint("k", i), large)
				}
				c := newClient(t, s, watch.StreamConfig{})
				spec := prefixSpec("")
				spec.PrevKV = true
				c.create(spec)
				c.next()
				for i := range 4 {
					s.put(fmt.Sprint("k", i), "small")
				}
				synctest.Wait()
				s.afterRead = func() {
					c.ProgressAll()
					synctest.Wait()
				}
				var got []string
				for len(got) < 3 {
					for _, line := range c.next() {
						got = append(got, strings.ReplaceAll(line, large, "large"))
					}
				}
				require.Equal(t, []string{
					"1: k0=small/6(was large/2) k1=small/7(was large/3) @7",
					"1: k2=small/8(was large/4) k3=small/9(was large/5) @9",
					"all: progress @9",
				}, got)
				c.nothing()
			})
		})
	}
}
