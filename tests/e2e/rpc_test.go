package e2e

import (
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	"github.com/flotillakv/flotilla/tests/process"
)

const kvService = "flotilla.v1.KVService/"

// TestRPCProtocols calls the API by each protocol that it is served by.
func TestRPCProtocols(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	h2 := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	for name, tt := range map[string]struct {
		client  connect.HTTPClient
		options []connect.ClientOption
	}{
		"connect":             {http.DefaultClient, nil},
		"connect with JSON":   {http.DefaultClient, []connect.ClientOption{connect.WithProtoJSON()}},
		"connect over HTTP 2": {h2, nil},
		"connect with GET":    {http.DefaultClient, []connect.ClientOption{connect.WithHTTPGet()}},
		"connect with gzip":   {http.DefaultClient, []connect.ClientOption{connect.WithSendGzip()}},
		"gRPC":                {h2, []connect.ClientOption{connect.WithGRPC()}},
		"gRPC-Web":            {http.DefaultClient, []connect.ClientOption{connect.WithGRPCWeb()}},
		"gRPC-Web with JSON":  {http.DefaultClient, []connect.ClientOption{connect.WithGRPCWeb(), connect.WithProtoJSON()}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := append(tt.options, connect.WithInterceptors(process.Bearer(node.Info.APIKey)))
			kv := flotillav1connect.NewKVServiceClient(tt.client, node.Info.APIURL, options...)
			callEveryKind(t, kv, strings.ReplaceAll(name, " ", "-")+"/")
			if tt.client == http.DefaultClient {
				return // a pipeline has both directions at once, which HTTP/1 cannot
			}
			callPipeline(t, kv)
		})
	}
}

func callEveryKind(t *testing.T, kv flotillav1connect.KVServiceClient, prefix string) {
	t.Helper()
	ctx := t.Context()
	key, value := []byte(prefix+"k\xff"), []byte(strings.Repeat("v", 100_000))
	put, err := kv.Put(ctx, &flotillav1.PutRequest{Key: key, Value: value})
	require.NoError(t, err)
	got, err := kv.Get(ctx, &flotillav1.GetRequest{Key: key})
	require.NoError(t, err)
	require.Equal(t, value, got.GetKv().GetValue())
	require.Equal(t, put.GetRevision(), got.GetKv().GetModRevision())

	stream, err := kv.RangeStream(ctx, &flotillav1.RangeStreamRequest{
		Range: &flotillav1.RangeRequest{Keys: &flotillav1.KeyRange{Prefix: []byte(prefix)}},
	})
	require.NoError(t, err)
	keys := 0
	for stream.Receive() {
		keys += len(stream.Msg().GetRange().GetKvs())
	}
	require.NoError(t, stream.Err())
	require.Equal(t, 1, keys)

	_, err = kv.Get(ctx, &flotillav1.GetRequest{Namespace: "none", Key: key})
	require.Equal(t, connect.CodeNotFound, connect.CodeOf(err))
	var failed *connect.Error
	require.ErrorAs(t, err, &failed)
	require.Len(t, failed.Details(), 1)
	detail, err := failed.Details()[0].Value()
	require.NoError(t, err)
	info, ok := detail.(*flotillav1.ErrorInfo)
	require.True(t, ok)
	require.Equal(t, flotillav1.Reason_REASON_NAMESPACE_NOT_FOUND, info.GetReason())
}

func callPipeline(t *testing.T, kv flotillav1connect.KVServiceClient) {
	t.Helper()
	stream, err := kv.Pipeline(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&flotillav1.PipelineRequest{Operations: []*flotillav1.Operation{
		{Id: 1, Operation: &flotillav1.Operation_Put{Put: &flotillav1.PutRequest{Key: []byte("p"), Value: []byte("1")}}},
		{Id: 2, Operation: &flotillav1.Operation_Get{Get: &flotillav1.GetRequest{Key: []byte("p")}}},
		{Id: 3, Operation: &flotillav1.Operation_Put{Put: &flotillav1.PutRequest{}}},
	}}))
	require.NoError(t, stream.CloseRequest())
	results := make(map[uint64]*flotillav1.OperationResult)
	for len(results) < 3 {
		message, err := stream.Receive()
		require.NoError(t, err)
		for _, r := range message.GetResults() {
			results[r.GetId()] = r
		}
	}
	require.Equal(t, "1", string(results[2].GetGet().GetKv().GetValue()), "the order of a key is kept")
	require.Equal(t, flotillav1.Reason_REASON_INVALID_FIELD, results[3].GetError().GetInfo().GetReason())
	require.NoError(t, stream.CloseResponse())
}

func TestConnectJSON(t *testing.T) {
	t.Parallel()
	c := curlOf(process.Dev(t))
	c.post(t, kvService+"Put", `{"key":"aw==","value":"djE="}`).ok(t)
	var got struct {
		Revision string
		KV       struct{ Value, ModRevision string }
	}
	c.post(t, kvService+"Get", `{"key":"aw=="}`).ok(t).decode(t, &got)
	require.Equal(t, "djE=", got.KV.Value)
	require.Equal(t, got.Revision, got.KV.ModRevision, "revisions are strings")

	largest, tooLong := strings.Repeat("AAAA", 512<<10), strings.Repeat("AAAA", 4<<10/3+1)
	invalid, tooLarge := flotillav1.Reason_REASON_INVALID_FIELD, flotillav1.Reason_REASON_TOO_LARGE
	// What cannot be decoded the RPC library refuses by itself, with a code and
	// a message only.
	const undecoded = flotillav1.Reason_REASON_UNSPECIFIED
	for name, tt := range map[string]struct {
		procedure, body, code string
		reason                flotillav1.Reason
	}{
		"no key":            {"Put", `{}`, "invalid_argument", invalid},
		"key too long":      {"Put", `{"key":"` + tooLong + `"}`, "invalid_argument", tooLarge},
		"value too long":    {"Put", `{"key":"aw==","value":"` + largest + `AAAA"}`, "invalid_argument", tooLarge},
		"request too large": {"Put", `{"key":"aw==","value":"` + largest + largest + `"}`, "resource_exhausted", undecoded},
		"unknown field":     {"Put", `{"key":"aw==","vlaue":"djI="}`, "invalid_argument", undecoded},
		"not JSON":          {"Put", `{"key":`, "invalid_argument", undecoded},
		"not base64":        {"Put", `{"key":"***"}`, "invalid_argument", undecoded},
		"start after end":   {"Range", `{"keys":{"start":"eg==","end":"YQ=="}}`, "invalid_argument", invalid},
		"future revision":   {"Get", `{"key":"aw==","revision":"99"}`, "out_of_range", flotillav1.Reason_REASON_REVISION_IN_FUTURE},
		"unknown namespace": {"Get", `{"namespace":"none","key":"aw=="}`, "not_found", flotillav1.Reason_REASON_NAMESPACE_NOT_FOUND},
		"bad namespace":     {"Get", `{"namespace":"../x","key":"aw=="}`, "invalid_argument", invalid},
		"two preconditions": {
			"Put", `{"key":"aw==","precondition":{"mustExist":true,"mustNotExist":true}}`, "invalid_argument", invalid,
		},
		"a key twice in a transaction": {
			"Txn", `{"success":[{"put":{"key":"aw=="}},{"put":{"key":"aw=="}}]}`, "invalid_argument", flotillav1.Reason_REASON_DUPLICATE_KEY,
		},
		"a write without its lease": {
			"Put", `{"key":"aw==","lease":"7"}`, "not_found", flotillav1.Reason_REASON_LEASE_NOT_FOUND,
		},
		"compaction ahead of time": {"Compact", `{"revision":"99"}`, "out_of_range", flotillav1.Reason_REASON_REVISION_IN_FUTURE},
	} {
		t.Run(name, func(t *testing.T) {
			c.post(t, kvService+tt.procedure, tt.body).refusedRPC(t, tt.code, tt.reason)
		})
	}
	require.Equal(t, http.StatusNotFound, c.post(t, kvService+"Nothing", `{}`).status)
	require.Equal(t, http.StatusMethodNotAllowed, c.get(t, "/"+kvService+"Put").status)
	require.Equal(t, http.StatusUnsupportedMediaType,
		c.do(t, http.MethodPost, "/"+kvService+"Put", "x", "Content-Type", "text/plain").status)

	c.post(t, kvService+"Put", `{"key":"aw==","value":"djI="}`).ok(t)
	c.post(t, kvService+"Compact", `{"revision":"3"}`).ok(t)
	c.post(t, kvService+"Get", `{"key":"aw==","revision":"2"}`).
		refusedRPC(t, "out_of_range", flotillav1.Reason_REASON_REVISION_COMPACTED)
	c.post(t, kvService+"Get", `{"key":"aw=="}`).ok(t).decode(t, &got)
	require.Equal(t, "djI=", got.KV.Value, "nothing was lost")
	require.Equal(t, "3", got.KV.ModRevision, "what was refused took no revision")
}
