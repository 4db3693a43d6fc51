package e2e

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tests/process"
)

// events is a stream of server-sent events that a browser would read.
type events struct {
	t     *testing.T
	lines *bufio.Scanner
}

// watch opens a stream; its body ends with the test.
func (c curl) watch(t *testing.T, path string, headers ...string) *events {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.base+path, nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+c.key)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	return &events{t, bufio.NewScanner(response.Body)}
}

// next is the next block that is an event, its lines joined; blocks with an id
// alone are passed over.
func (e *events) next() string {
	e.t.Helper()
	var block []string
	for e.lines.Scan() {
		if line := e.lines.Text(); line != "" {
			block = append(block, line)
			continue
		}
		if len(block) > 1 {
			return strings.Join(block, " ")
		}
		block = nil
	}
	require.FailNow(e.t, "the stream ended", "%v", e.lines.Err())
	return ""
}

func TestServerSentEvents(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	c := curlOf(node)
	one := c.watch(t, "/v1/kv/dir/a?watch=true")
	c.put(t, "/v1/kv/dir/a", "1")
	require.Equal(t, `id: 2 event: put data: {"key":"dir/a","value":"1","create_revision":"2","mod_revision":"2","version":"1"}`, one.next())

	prefix := c.watch(t, "/v1/kv?prefix=dir/&start_revision=2&prev_kv=true", "Accept", "text/event-stream")
	require.Contains(t, prefix.next(), `id: 2 event: put data: {"key":"dir/a"`)
	c.put(t, "/v1/kv/dir/b%ff", "\xff")
	c.put(t, "/v1/kv/other", "not watched")
	c.put(t, "/v1/kv/dir/a", "2")
	require.Equal(t, `id: 3 event: put data: {"key_base64":"ZGlyL2L/","value_base64":"/w==","create_revision":"3","mod_revision":"3","version":"1"}`, prefix.next())
	require.Contains(t, prefix.next(), `"prev_kv":{"key":"dir/a","value":"1","create_revision":"2","mod_revision":"2","version":"1"}}`)
	require.Contains(t, one.next(), `id: 5 event: put data: {"key":"dir/a","value":"2"`)

	// The events of one revision: only the last one has its id, so that a
	// browser that lost the connection between them gets all of them again.
	c.post(t, kvService+"Delete", `{"range":{"prefix":"ZGlyLw=="}}`).ok(t)
	require.Contains(t, prefix.next(), `event: delete data: {"key":"dir/a","mod_revision":"6","prev_kv":`)
	require.True(t, strings.HasPrefix(prefix.next(), `id: 6 event: delete data: {"key_base64":"ZGlyL2L/"`))

	again := c.watch(t, "/v1/kv?prefix=dir/", "Accept", "text/event-stream", "Last-Event-ID", "5")
	require.Contains(t, again.next(), `event: delete data: {"key":"dir/a"`)

	c.post(t, kvService+"Compact", `{"revision":"6"}`).ok(t)
	c.get(t, "/v1/kv?watch=true", "Last-Event-ID", "2").refused(t, http.StatusGone, flotillav1.Reason_REASON_REVISION_COMPACTED)
	c.get(t, "/v1/kv?watch=true", "Last-Event-ID", "x").refused(t, http.StatusBadRequest, flotillav1.Reason_REASON_INVALID_FIELD)
	c.get(t, "/v1/kv?watch=true&start=b&end=a").refused(t, http.StatusBadRequest, flotillav1.Reason_REASON_INVALID_FIELD)
	c.get(t, "/v1/ns/none/kv?watch=true").refused(t, http.StatusNotFound, flotillav1.Reason_REASON_NAMESPACE_NOT_FOUND)
	c.get(t, "/v1/kv/a?watch=maybe").refused(t, http.StatusBadRequest, flotillav1.Reason_REASON_INVALID_FIELD)
	(curl{base: c.base}).get(t, "/v1/kv?watch=true").refused(t, http.StatusUnauthorized, flotillav1.Reason_REASON_UNAUTHENTICATED)

	// The end of the node ends the stream with an error that says to try again.
	node.Stop(t)
	require.Contains(t, one.next(), `event: delete`)
	require.Contains(t, one.next(), `REASON_SHUTTING_DOWN`)
}
