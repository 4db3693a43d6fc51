package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tests/process"
)

// TestNamespacesCostNoGoroutines counts goroutines before and after hundreds
// of namespaces came to be and were written to. One for each of them, or a
// timer's, would be seen.
func TestNamespacesCostNoGoroutines(t *testing.T) {
	t.Parallel()
	const namespaces = 300
	node := process.Dev(t)
	client := node.Client(t)
	_, err := client.Namespace("default").KV.Put(t.Context(), "warm", nil, nil) // opens the pipeline
	require.NoError(t, err)
	before, err := goroutines(t.Context(), node)
	require.NoError(t, err)
	for i := range namespaces {
		name := fmt.Sprintf("ns-%d", i)
		err := client.CreateNamespaces(t.Context(), name)
		require.NoError(t, err)
		_, err = client.Namespace(name).KV.Put(t.Context(), "k", []byte("v"), nil)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		now, err := goroutines(t.Context(), node)
		return err == nil && now < before+namespaces/4
	}, 20*time.Second, 50*time.Millisecond, "a goroutine is left for each namespace")
}

var goroutinesLine = regexp.MustCompile(`(?m)^go_goroutines (\d+)`)

func goroutines(ctx context.Context, node *process.Process) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, node.Info.OpsURL+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	found := goroutinesLine.FindSubmatch(body)
	if found == nil {
		return 0, errors.New("the node does not tell how many goroutines it has")
	}
	return strconv.Atoi(string(found[1]))
}
