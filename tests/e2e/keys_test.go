package e2e

import (
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	flotilla "github.com/flotillakv/flotilla/sdk/go"
	"github.com/flotillakv/flotilla/tests/process"
)

// TestWrongKeys tries credentials that are none. All get the same answer, so
// that none tells whether a key of that id exists.
func TestWrongKeys(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	good := node.Info.APIKey
	parts := strings.Split(good, "_")
	answers := make(map[string]bool)
	for name, key := range map[string]string{ // by what is wrong
		"missing":        "",
		"garbled":        "flk_%%%",
		"no key at all":  "hello",
		"cut off":        good[:len(good)-1],
		"longer":         good + "a",
		"another secret": parts[0] + "_" + parts[1] + "_" + strings.Repeat("a", len(parts[2])),
		"unknown id":     parts[0] + "_" + strings.Repeat("a", len(parts[1])) + "_" + parts[2],
		"upper case":     strings.ToUpper(good),
	} {
		c := curl{base: node.Info.APIURL, key: key}
		c.get(t, "/v1/kv/k").refused(t, http.StatusUnauthorized, flotillav1.Reason_REASON_UNAUTHENTICATED)
		c.put(t, "/v1/ns/none/kv/k", "v").refused(t, http.StatusUnauthorized, flotillav1.Reason_REASON_UNAUTHENTICATED)
		rpc := c.post(t, kvService+"Get", `{"key":"aw=="}`)
		rpc.refusedRPC(t, "unauthenticated", flotillav1.Reason_REASON_UNAUTHENTICATED)
		c.post(t, "flotilla.v1.TenantService/ListAPIKeys", `{}`).
			refusedRPC(t, "unauthenticated", flotillav1.Reason_REASON_UNAUTHENTICATED)
		var e struct{ Message string }
		rpc.decode(t, &e)
		answers[e.Message] = true
		require.NotContains(t, e.Message, parts[1], name)
	}
	require.Len(t, answers, 1, "the message tells one wrong key from another")
}

// TestRevokedKey revokes a key while a pipeline of it is open.
func TestRevokedKey(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	admin := node.Client(t)
	info, secret, err := admin.CreateAPIKey(t.Context(), flotilla.APIKeySpec{Description: "to be revoked"})
	require.NoError(t, err)

	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	kv := flotillav1connect.NewKVServiceClient(&http.Client{Transport: &http.Transport{Protocols: protocols}},
		node.Info.APIURL, connect.WithInterceptors(process.Bearer(secret)))
	stream, err := kv.Pipeline(t.Context())
	require.NoError(t, err)
	put := func(id uint64) error {
		return stream.Send(&flotillav1.PipelineRequest{Operations: []*flotillav1.Operation{{
			Id: id, Operation: &flotillav1.Operation_Put{Put: &flotillav1.PutRequest{Key: []byte("k"), Value: []byte{byte(id)}}},
		}}})
	}
	require.NoError(t, put(1))
	message, err := stream.Receive()
	require.NoError(t, err)
	require.NotNil(t, message.GetResults()[0].GetPut())

	require.NoError(t, admin.RevokeAPIKey(t.Context(), info.ID))
	_ = put(2) // the stream may have ended already
	_, err = stream.Receive()
	require.Equal(t, connect.CodeUnauthenticated, connect.CodeOf(err), "%v", err)
	found, err := admin.Namespace(node.Info.Namespace).KV.Get(t.Context(), "k", nil)
	require.NoError(t, err)
	require.Equal(t, []byte{1}, found.Value, "a write of a revoked key happened")

	own, err := flotilla.New(flotilla.Config{URL: node.Info.APIURL, APIKey: secret})
	require.NoError(t, err)
	defer own.Close()
	_, err = own.Namespace(node.Info.Namespace).KV.Get(t.Context(), "k", nil)
	require.ErrorIs(t, err, flotilla.ErrUnauthenticated)
}
