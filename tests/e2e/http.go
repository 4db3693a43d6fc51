package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tests/process"
)

// curl makes requests as curl --path-as-is does.
type curl struct {
	base string
	key  string
}

func curlOf(node *process.Process) curl {
	return curl{base: node.Info.APIURL, key: node.Info.APIKey}
}

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// do makes a request with headers as name, value pairs.
func (c curl) do(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, c.base+path, strings.NewReader(body))
	require.NoError(t, err)
	if c.key != "" {
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{response.StatusCode, response.Header, string(data)}
}

func (c curl) get(t *testing.T, path string, headers ...string) answer {
	t.Helper()
	return c.do(t, http.MethodGet, path, "", headers...)
}

func (c curl) put(t *testing.T, path, body string, headers ...string) answer {
	t.Helper()
	return c.do(t, http.MethodPut, path, body, headers...)
}

func (c curl) delete(t *testing.T, path string, headers ...string) answer {
	t.Helper()
	return c.do(t, http.MethodDelete, path, "", headers...)
}

// post calls an RPC with JSON, as curl can.
func (c curl) post(t *testing.T, procedure, body string) answer {
	t.Helper()
	return c.do(t, http.MethodPost, "/"+procedure, body, "Content-Type", "application/json")
}

// ok requires a success.
func (a answer) ok(t *testing.T) answer {
	t.Helper()
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	return a
}

// refused requires an error of the plain surface with a status and a reason.
func (a answer) refused(t *testing.T, status int, reason flotillav1.Reason) {
	t.Helper()
	require.Equal(t, status, a.status, "%s", a.body)
	var e struct {
		Message string
		Info    struct{ Reason string }
	}
	a.decode(t, &e)
	require.Equal(t, reason.String(), e.Info.Reason, "%s", a.body)
	require.NotEmpty(t, e.Message)
}

// refusedRPC requires an error of an RPC in JSON with a code and a reason, or
// without details if the reason is unspecified.
func (a answer) refusedRPC(t *testing.T, code string, reason flotillav1.Reason) {
	t.Helper()
	var e struct {
		Code, Message string
		Details       []struct {
			Type  string
			Debug struct{ Reason string }
		}
	}
	a.decode(t, &e)
	require.Equal(t, code, e.Code, "%s", a.body)
	require.NotEmpty(t, e.Message)
	if reason == flotillav1.Reason_REASON_UNSPECIFIED {
		require.Empty(t, e.Details, "%s", a.body)
		return
	}
	require.NotEmpty(t, e.Details, "%s", a.body)
	require.Equal(t, "flotilla.v1.ErrorInfo", e.Details[0].Type)
	require.Equal(t, reason.String(), e.Details[0].Debug.Reason, "%s", a.body)
}

func (a answer) decode(t *testing.T, into any) {
	t.Helper()
	require.NoError(t, json.NewDecoder(bytes.NewReader([]byte(a.body))).Decode(into), "%s", a.body)
}
