package watch

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
	"github.com/flotillakv/flotilla/tests/process"
)

func TestMain(m *testing.M) { os.Exit(process.Main(m)) }

// TestWatchesShowWhatHappened has writers, watchers and a compactor at a node
// that is killed or stopped again and again, and then checks all that was shown.
func TestWatchesShowWhatHappened(t *testing.T) {
	t.Parallel()
	rounds, spread := 4, 400*time.Millisecond
	if process.Slow() {
		rounds, spread = 60, 2*time.Second
	}
	seed := process.Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	node := process.Dev(t)
	load := Start(t, func() *flotilla.KV { return node.Client(t).Namespace(node.Info.Namespace).KV }, seed)
	for round := range rounds {
		moment(random, 300*time.Millisecond, 300*time.Millisecond+spread)
		if round%3 == 2 {
			node.Stop(t)
		} else {
			node.Kill(t)
		}
		node.Start(t)
	}
	moment(random, 300*time.Millisecond, 300*time.Millisecond+spread)
	load.Finish(t, time.Minute)
}
