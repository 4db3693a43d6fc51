package gateway

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
)

// A body that never comes to its end ends the request, unless it is a stream's.
func TestBodyThatTricklesIn(t *testing.T) {
	t.Parallel()
	read := make(chan error, 1)
	server := httptest.NewServer(limitBodyTime(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		read <- err
	}), 50*time.Millisecond, slog.New(slog.DiscardHandler)))
	t.Cleanup(server.Close)

	post := func(procedure string) io.Closer {
		body, rest := io.Pipe()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+procedure, body)
		require.NoError(t, err)
		go func() {
			if response, err := http.DefaultClient.Do(request); err == nil {
				_ = response.Body.Close()
			}
		}()
		return rest
	}
	unary := post(flotillav1connect.KVServicePutProcedure)
	select {
	case err := <-read:
		require.Error(t, err)
	case <-time.After(30 * time.Second):
		require.Fail(t, "the request goes on")
	}
	require.NoError(t, unary.Close())

	stream := post(flotillav1connect.KVServicePipelineProcedure)
	select {
	case err := <-read:
		require.NoError(t, err, "a silent stream was ended")
	case <-time.After(200 * time.Millisecond):
	}
	require.NoError(t, stream.Close())
	require.NoError(t, <-read)
}
