package gather_test

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway/gather"
)

// What comes while others are worked on goes together, of each kind by itself.
func TestGathers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := gather.New[string, int](2, 3)
		var mu sync.Mutex
		groups := map[string][][]int{}
		release := make(chan struct{})
		add := func(kind string, items ...int) {
			g.Add(kind, func(taken []int) {
				mu.Lock()
				groups[kind] = append(groups[kind], taken)
				mu.Unlock()
				<-release
			}, items...)
			synctest.Wait()
		}
		add("a", 1)
		add("a", 2)
		for i := range 5 {
			add("a", 3+i)
		}
		add("b", 9)
		require.Equal(t, [][]int{{1}, {2}}, groups["a"], "the others wait for a worker")
		require.Equal(t, [][]int{{9}}, groups["b"], "another kind does not")
		for range 5 {
			release <- struct{}{}
			synctest.Wait()
		}
		require.Equal(t, [][]int{{1}, {2}, {3, 4, 5}, {6, 7}}, groups["a"])
		add("a", 8) // workers begin anew
		close(release)
		synctest.Wait()
		require.Equal(t, []int{8}, groups["a"][4])
	})
}
