package flotilla_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// cutOff is a server whose connection breaks in the middle of an answer.
type cutOff struct{}

func (cutOff) Do(r *http.Request) (*http.Response, error) {
	go func() { _, _ = io.Copy(io.Discard, r.Body) }()
	return &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 2, Request: r,
		Header: http.Header{"Content-Type": {r.Header.Get("Content-Type")}},
		Body:   io.NopCloser(strings.NewReader("\x00\x00")),
	}, nil
}

func TestAnAnswerThatIsCutOffIsNoFaultOfTheCaller(t *testing.T) {
	t.Parallel()
	client, err := flotilla.New(flotilla.Config{
		URL: "http://node.invalid", APIKey: "key", AttemptsMax: 1, HTTPClient: cutOff{},
	})
	require.NoError(t, err)
	defer client.Close()
	_, err = client.Namespace("default").KV.Put(t.Context(), "k", []byte("v"), nil)
	var failed *flotilla.Error
	require.ErrorAs(t, err, &failed)
	require.Equal(t, connect.CodeUnavailable, failed.Code, "%v", err)
	require.True(t, flotilla.OutcomeUnknown(err))
}
