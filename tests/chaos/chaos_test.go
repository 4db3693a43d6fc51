package chaos

import (
	"context"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
	"github.com/flotillakv/flotilla/tests/process"
)

const writersPerRound = 12

func TestMain(m *testing.M) { os.Exit(process.Main(m)) }

// TestKillAtRandomMoments kills a node under load, again and again, and every
// other time also while it recovers.
func TestKillAtRandomMoments(t *testing.T) {
	t.Parallel()
	rounds := 3
	if process.Slow() {
		rounds = 100
	}
	seed := process.Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	node := process.Dev(t)
	l := newLedger()
	for round := range rounds {
		runRound(t, node, l, round, seed, random)
		if t.Failed() {
			return
		}
	}
}

func runRound(t *testing.T, node *process.Process, l *ledger, round int, seed uint64, random *rand.Rand) {
	t.Helper()
	var kvs []*flotilla.KV
	for range writersPerRound { // a client each: retries have a budget for each client
		kvs = append(kvs, node.Client(t).Namespace(node.Info.Namespace).KV)
	}
	w := startWriters(context.WithoutCancel(t.Context()), kvs, l, round, seed)
	moment(random, 50*time.Millisecond, 500*time.Millisecond)
	node.Kill(t)
	if round%2 == 1 {
		node.Launch(t)
		moment(random, 0, 300*time.Millisecond)
		node.Kill(t)
	}
	started := time.Now()
	node.Start(t)
	ready := time.Since(started)
	moment(random, 0, 100*time.Millisecond) // writes that are tried again meet new ones
	require.NoError(t, w.finish())

	kv := node.Client(t).Namespace(node.Info.Namespace).KV
	before := l.outcomes()
	l.verify(t, kv)
	t.Logf("round %d: ready after %s, revision %d; %s", round, ready.Round(time.Millisecond), l.revision, before)
}

// moment lets a random time pass. Nothing is waited for: the moment is what is
// tested.
func moment(random *rand.Rand, from, to time.Duration) {
	<-time.After(from + time.Duration(random.Int64N(int64(to-from))))
}
