package watch

import (
	"bytes"
	"fmt"
	"math/bits"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func indexed(start, end string) *watcher {
	w := &watcher{start: []byte(start)}
	if end != "" {
		w.end = []byte(end)
	}
	return w
}

// The index finds what looking at every watch would find.
func TestIndexFindsWhatAScanFinds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var x index
		var all []*watcher
		bound := rapid.StringMatching(`[ab]{0,3}`)
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			if len(all) > 0 && rapid.IntRange(0, 2).Draw(t, "remove") == 0 {
				i := rapid.IntRange(0, len(all)-1).Draw(t, "which")
				x.remove(all[i])
				x.remove(all[i]) // which is no error
				all = slices.Delete(all, i, i+1)
				continue
			}
			w := indexed(bound.Draw(t, "start"), bound.Draw(t, "end"))
			if rapid.Bool().Draw(t, "key") {
				w.end = append(bytes.Clone(w.start), 0)
			}
			if len(w.end) > 0 && bytes.Compare(w.start, w.end) >= 0 {
				continue
			}
			x.add(w)
			all = append(all, w)
		}
		require.Equal(t, len(all), x.size)
		key := []byte(rapid.StringMatching(`[ab]{1,4}`).Draw(t, "look up"))
		found := map[*watcher]int{}
		x.find(key, func(w *watcher) { found[w]++ })
		for _, w := range all {
			want := 0
			if w.covers(key) {
				want = 1
			}
			require.Equal(t, want, found[w], "[%s, %s)", w.start, w.end)
		}
		n := 0
		x.all(func(*watcher) { n++ })
		require.Equal(t, len(all), n)
	})
}

// An event costs as many steps as the tree is deep, and a few for each hit.
func TestIndexLooksAtFewOfManyWatches(t *testing.T) {
	t.Parallel()
	const watches = 10_000
	depth := bits.Len(watches)
	var x index
	for i := range watches {
		prefix := fmt.Sprintf("service/%05d/", i)
		x.add(indexed(prefix, prefix[:len(prefix)-1]+"0"))
		x.add(indexed(prefix+"key", prefix+"key\x00"))
	}
	x.add(indexed("", ""))
	most := 0
	for i := range watches {
		x.visits = 0
		hits := 0
		x.find(fmt.Appendf(nil, "service/%05d/key", i), func(*watcher) { hits++ })
		require.Equal(t, 3, hits)
		most = max(most, x.visits)
	}
	require.Less(t, most, 10*depth, "visited of %d", watches)
	t.Logf("at most %d of %d nodes were looked at", most, watches+1)

	x.visits = 0
	x.find([]byte("nobody"), func(w *watcher) { require.Empty(t, w.start) })
	require.Less(t, x.visits, 5*depth)
}

// Watches of the same range share one node.
func TestIndexSharesEqualRanges(t *testing.T) {
	t.Parallel()
	var x index
	for range 1000 {
		x.add(indexed("a", "b"))
	}
	hits := 0
	x.find([]byte("ab"), func(*watcher) { hits++ })
	require.Equal(t, 1000, hits)
	require.Equal(t, 1, x.visits)
}

func BenchmarkIndexFind(b *testing.B) {
	for _, watches := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(watches), func(b *testing.B) {
			var x index
			keys := make([][]byte, watches)
			for i := range watches {
				prefix := fmt.Sprintf("service/%06d/", i)
				x.add(indexed(prefix, prefix[:len(prefix)-1]+"0"))
				keys[i] = []byte(prefix + "key")
			}
			i := 0
			for b.Loop() {
				x.find(keys[i%watches], func(*watcher) {})
				i += 7919
			}
		})
	}
}
