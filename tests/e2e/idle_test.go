package e2e

import (
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
	before := goroutines(t, node)
	for i := range namespaces {
		name := fmt.Sprintf("ns-%d", i)
		err := client.CreateNamespaces(t.Context(), name)
		require.NoError(t, err)
		_, err = client.Namespace(name).KV.Put(t.Context(), "k", []byte("v"), nil)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return goroutines(t, node) < before+namespaces/4 },
		20*time.Second, 50*time.Millisecond, "a goroutine is left for each namespace")
}

var goroutinesLine = regexp.MustCompile(`(?m)^go_goroutines (\d+)`)

func goroutines(t *testing.T, node *process.Process) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, node.Info.OpsURL+"/metrics", nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	found := goroutinesLine.FindSubmatch(body)
	require.NotNil(t, found)
	n, err := strconv.Atoi(string(found[1]))
	require.NoError(t, err)
	return n
}
