package e2e

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
	"github.com/flotillakv/flotilla/tests/process"
)

// TestGracefulStop stops a node under load. Every call ends with success or an
// error that says to try again, and what succeeded is there afterwards.
func TestGracefulStop(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	const callers = 16
	var (
		writes  atomic.Int64
		mu      sync.Mutex
		written = make(map[string]bool)
		errs    []error
		calling sync.WaitGroup
	)
	ctx := context.WithoutCancel(t.Context())
	client, err := flotilla.New(flotilla.Config{URL: node.Info.APIURL, APIKey: node.Info.APIKey, Timeout: 10 * time.Second})
	require.NoError(t, err)
	defer client.Close()
	kv := client.Namespace(node.Info.Namespace).KV
	for id := range callers {
		calling.Go(func() {
			for n := 0; ; n++ {
				key := fmt.Sprintf("%d/%d", id, n)
				_, err := kv.Put(ctx, key, []byte("v"), nil)
				mu.Lock()
				if err != nil {
					errs = append(errs, err)
				} else {
					written[key] = true
				}
				mu.Unlock()
				if err != nil {
					return
				}
				writes.Add(1)
			}
		})
	}
	require.Eventually(t, func() bool { return writes.Load() > 500 }, time.Minute, time.Millisecond)
	node.Stop(t)
	calling.Wait()

	require.Len(t, errs, callers)
	for _, err := range errs {
		var answered *flotilla.Error
		require.ErrorAs(t, err, &answered)
		require.Contains(t, []connect.Code{connect.CodeUnavailable, connect.CodeUnknown, connect.CodeDeadlineExceeded},
			answered.Code, "%v", err)
	}
	node.Start(t)
	again := node.Client(t).Namespace(node.Info.Namespace).KV
	there := make(map[string]bool)
	for found, err := range again.Range(t.Context(), flotilla.AllKeys(), &flotilla.RangeOptions{KeysOnly: true}) {
		require.NoError(t, err)
		require.Equal(t, uint64(1), found.Version)
		there[found.Key] = true
	}
	for key := range written {
		require.True(t, there[key], "%s was acknowledged and is gone", key)
	}
	t.Logf("%d writes were acknowledged, %d are there", len(written), len(there))
}
