package linear

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tests/process"
)

const callers = 16

func TestMain(m *testing.M) { os.Exit(process.Main(m)) }

// TestConcurrentCallersSeeOneOrder checks a node that runs.
func TestConcurrentCallersSeeOneOrder(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	w := &workload{ports: clients(t, node, 2), seed: process.Seed(t), callers: callers, calls: calls(), start: time.Now()}
	history, err := w.run(t.Context())
	require.NoError(t, err)
	require.Empty(t, w.failed, "a node that runs answers every call")
	requireLinearizable(t, history)

	// The same history with one stale read at its end must be refused.
	last := &history[len(history)-1]
	for _, op := range history {
		out := as[output](op.Output)
		if op.Input == last.Input && out.found != [keysPerGroup]version{} && out.found != as[output](last.Output).found {
			last.Output = out
			break
		}
	}
	require.False(t, porcupine.CheckOperations(model(), history), "a stale read was not noticed")
}

// TestCallersSeeOneOrderOverCrashes kills the node twice under load and starts
// it again. The client tries again by itself what it may, so writes whose
// answer was lost must have happened once.
func TestCallersSeeOneOrderOverCrashes(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	w := &workload{
		// More clients, because each has a budget of retries.
		ports: clients(t, node, 8), seed: process.Seed(t), callers: callers, calls: calls(),
		patience: 30 * time.Millisecond, start: time.Now(),
	}
	var history []porcupine.Operation
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		history, err = w.run(context.WithoutCancel(t.Context()))
	}()
	type outage struct{ killed, ready int64 }
	var outages []outage
	for _, after := range []int64{w.calls / 3, 2 * w.calls / 3} {
		require.Eventually(t, func() bool { return w.made.Load() > after }, time.Minute, time.Millisecond)
		killed := w.now()
		node.Kill(t)
		node.Start(t)
		outages = append(outages, outage{killed, w.now()})
	}
	<-done
	require.NoError(t, err)

	retried := 0
	for _, op := range history {
		for _, o := range outages {
			if as[input](op.Input).kind.write() && op.Call < o.killed && op.Return > o.ready && op.Return != never {
				retried++
			}
		}
	}
	require.Positive(t, retried, "no write was begun before a crash and answered after it")
	t.Logf("%d writes were begun before a crash and answered after it", retried)
	requireLinearizable(t, history)
}

func calls() int64 {
	if process.Slow() {
		return 40_000
	}
	return 6_000
}

// clients makes some clients of a node, as handles on its namespace.
func clients(t *testing.T, node *process.Process, n int) []port {
	t.Helper()
	var handles []port
	for range n {
		handles = append(handles, sdk{node.Client(t).Namespace(node.Info.Namespace).KV})
	}
	return handles
}

// requireLinearizable fails with a picture of the history.
func requireLinearizable(t *testing.T, history []porcupine.Operation) {
	t.Helper()
	unknown := 0
	for _, op := range history {
		if op.Return == never {
			unknown++
		}
	}
	start := time.Now()
	result, info := porcupine.CheckOperationsVerbose(model(), history, 5*time.Minute)
	t.Logf("%d operations, %d of unknown outcome: %s, checked in %s", len(history), unknown, result, time.Since(start).Round(time.Millisecond))
	if result == porcupine.Ok {
		return
	}
	path := filepath.Join(os.TempDir(), "flotilla-"+t.Name()+".html")
	require.NoError(t, porcupine.VisualizePath(model(), info, path))
	require.FailNow(t, "the history is not linearizable", "%s: open %s in a browser", result, path)
}
