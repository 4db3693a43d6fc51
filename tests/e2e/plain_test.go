package e2e

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tests/process"
)

// plainList is what a list of the plain surface says.
type plainList struct {
	Revision string
	Keys     []struct {
		Key, Value  string
		KeyBase64   string `json:"key_base64"`
		ModRevision string `json:"mod_revision"`
		Version     string
	}
	More bool
	Next string
}

func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	c := curlOf(node)

	t.Run("conditions", func(t *testing.T) { plainConditions(t, c) })
	t.Run("list", func(t *testing.T) {
		for _, key := range []string{"list/a", "list/b", "list/c"} {
			c.put(t, "/v1/kv/"+key, key).ok(t)
		}
		var first, rest plainList
		c.get(t, "/v1/kv?prefix=list/&limit=2").ok(t).decode(t, &first)
		require.Len(t, first.Keys, 2)
		require.Equal(t, "list/a", first.Keys[0].Value)
		require.True(t, first.More)
		c.put(t, "/v1/kv/list/d", "later").ok(t)
		c.get(t, "/v1/kv?prefix=list/&start="+url.QueryEscape(first.Next)+"&revision="+first.Revision).ok(t).decode(t, &rest)
		require.Len(t, rest.Keys, 1, "a list goes on as of its revision")
		require.False(t, rest.More)
	})
	t.Run("keys", func(t *testing.T) {
		for path, key := range map[string]string{
			"a/b/c":         "a/b/c",
			"a//b":          "a//b",
			"../up":         "../up",
			"./here/..":     "./here/..",
			"/":             "/",
			"50%25":         "50%",
			"a%2Fb%20c":     "a/b c",
			"%ff%00%fe":     "\xff\x00\xfe",
			"%E2%82%AC":     "€",
			"q%3Fa%3D1%23f": "q?a=1#f",
			"plus+sign":     "plus+sign",
		} {
			c.put(t, "/v1/kv/"+path, "of "+path).ok(t)
			require.Equal(t, "of "+path, c.get(t, "/v1/kv/"+path).ok(t).body, "%q", key)
			body := `{"key":"` + base64.StdEncoding.EncodeToString([]byte(key)) + `"}`
			var got struct{ KV struct{ Value []byte } }
			c.post(t, "flotilla.v1.KVService/Get", body).ok(t).decode(t, &got)
			require.Equal(t, "of "+path, string(got.KV.Value), "the path %s is not the key %q", path, key)
			c.delete(t, "/v1/kv/"+path).ok(t)
			c.get(t, "/v1/kv/"+path).refused(t, http.StatusNotFound, flotillav1.Reason_REASON_KEY_NOT_FOUND)
		}
		c.put(t, "/v1/kv/bytes/%ff", "\xfe").ok(t)
		var list plainList
		c.get(t, "/v1/kv?prefix=bytes/").ok(t).decode(t, &list)
		require.Equal(t, base64.StdEncoding.EncodeToString([]byte("bytes/\xff")), list.Keys[0].KeyBase64)
		require.Equal(t, "\xfe", c.get(t, "/v1/kv/bytes/%ff").ok(t).body)
	})
	t.Run("namespaces", func(t *testing.T) {
		require.Zero(t, node.Home.Run(t, "namespace", "create", "other").Code)
		c.put(t, "/v1/ns/other/kv/k", "other").ok(t)
		c.get(t, "/v1/kv/k").refused(t, http.StatusNotFound, flotillav1.Reason_REASON_KEY_NOT_FOUND)
		require.Equal(t, "other", c.get(t, "/v1/ns/other/kv/k").ok(t).body)
		var list plainList
		c.get(t, "/v1/ns/other/kv").ok(t).decode(t, &list)
		require.Len(t, list.Keys, 1)
		require.Equal(t, "2", list.Keys[0].ModRevision, "a namespace has revisions of its own")
		c.get(t, "/v1/ns/none/kv/k").refused(t, http.StatusNotFound, flotillav1.Reason_REASON_NAMESPACE_NOT_FOUND)
	})
	t.Run("repeated request", func(t *testing.T) {
		first := c.put(t, "/v1/kv/once", "1", "Idempotency-Key", "id-1").ok(t)
		again := c.put(t, "/v1/kv/once", "1", "Idempotency-Key", "id-1").ok(t)
		require.Equal(t, first.body, again.body)
		require.Equal(t, "1", c.get(t, "/v1/kv/once").ok(t).header.Get("Flotilla-Version"))
	})
	t.Run("bad requests", func(t *testing.T) { plainBadRequests(t, c) })
}

func plainConditions(t *testing.T, c curl) {
	t.Helper()
	mismatch := flotillav1.Reason_REASON_REVISION_MISMATCH
	first := c.put(t, "/v1/kv/c", "1", "If-None-Match", "*").ok(t).header.Get("ETag")
	c.put(t, "/v1/kv/c", "2", "If-None-Match", "*").
		refused(t, http.StatusPreconditionFailed, flotillav1.Reason_REASON_KEY_EXISTS)
	second := c.put(t, "/v1/kv/c", "2", "If-Match", first).ok(t).header.Get("ETag")
	require.NotEqual(t, first, second)
	c.put(t, "/v1/kv/c", "3", "If-Match", first).refused(t, http.StatusPreconditionFailed, mismatch)
	c.delete(t, "/v1/kv/c", "If-Match", first).refused(t, http.StatusPreconditionFailed, mismatch)

	read := c.get(t, "/v1/kv/c").ok(t)
	require.Equal(t, "2", read.body)
	require.Equal(t, second, read.header.Get("ETag"))
	require.Equal(t, "2", read.header.Get("Flotilla-Version"))
	require.Equal(t, "1", c.get(t, "/v1/kv/c?revision="+strings.Trim(first, `"`)).ok(t).body)

	unchanged := c.get(t, "/v1/kv/c", "If-None-Match", second)
	require.Equal(t, http.StatusNotModified, unchanged.status)
	require.Empty(t, unchanged.body)
	require.Equal(t, "2", c.get(t, "/v1/kv/c", "If-None-Match", first).ok(t).body)
	head := c.do(t, http.MethodHead, "/v1/kv/c", "").ok(t)
	require.Equal(t, second, head.header.Get("ETag"))
	require.Empty(t, head.body)

	c.put(t, "/v1/kv/c", "3", "If-Match", "*").ok(t)
	c.delete(t, "/v1/kv/c").ok(t)
	c.get(t, "/v1/kv/c").refused(t, http.StatusNotFound, flotillav1.Reason_REASON_KEY_NOT_FOUND)
	c.put(t, "/v1/kv/c", "4", "If-Match", "*").
		refused(t, http.StatusPreconditionFailed, flotillav1.Reason_REASON_KEY_NOT_FOUND)
}

func plainBadRequests(t *testing.T, c curl) {
	t.Helper()
	invalid, tooLarge := flotillav1.Reason_REASON_INVALID_FIELD, flotillav1.Reason_REASON_TOO_LARGE
	unknown := flotillav1.Reason_REASON_UNIMPLEMENTED
	c.put(t, "/v1/kv/kept", "kept").ok(t)

	c.put(t, "/v1/kv/"+strings.Repeat("k", 4<<10), "longest").ok(t)
	c.put(t, "/v1/kv/"+strings.Repeat("k", 4<<10+1), "v").refused(t, http.StatusRequestEntityTooLarge, tooLarge)
	c.put(t, "/v1/kv/kept", strings.Repeat("v", 3<<19+1)).refused(t, http.StatusRequestEntityTooLarge, tooLarge)
	c.put(t, "/v1/kv/large", strings.Repeat("v", 3<<19)).ok(t)
	require.Len(t, c.get(t, "/v1/kv/large").ok(t).body, 3<<19)

	c.get(t, "/v1/kv/kept?revision=x").refused(t, http.StatusBadRequest, invalid)
	c.get(t, "/v1/kv/kept?revision=1000000").refused(t, http.StatusBadRequest, flotillav1.Reason_REASON_REVISION_IN_FUTURE)
	c.get(t, "/v1/kv?limit=-1").refused(t, http.StatusBadRequest, invalid)
	c.get(t, "/v1/kv?keys_only=perhaps").refused(t, http.StatusBadRequest, invalid)
	c.put(t, "/v1/kv/kept", "v", "If-Match", "yesterday").refused(t, http.StatusBadRequest, invalid)
	c.put(t, "/v1/kv/kept", "v", "If-None-Match", `"3"`).refused(t, http.StatusBadRequest, invalid)
	c.put(t, "/v1/kv/kept", "v", "If-None-Match", "*", "If-Match", "*").refused(t, http.StatusBadRequest, invalid)

	wrong := c.do(t, http.MethodPatch, "/v1/kv/kept", "v")
	wrong.refused(t, http.StatusMethodNotAllowed, unknown)
	require.Equal(t, "GET, HEAD, PUT, DELETE", wrong.header.Get("Allow"))
	c.do(t, http.MethodPost, "/v1/kv", "v").refused(t, http.StatusMethodNotAllowed, unknown)
	for _, path := range []string{"/v1/ns/default/what", "/v1/kvs", "/v1", "/v2/kv/a", "/kv/a", "/"} {
		c.get(t, path).refused(t, http.StatusNotFound, unknown)
		require.Contains(t, c.get(t, path).body, "/v1/ns/{namespace}/kv/{key}", path)
	}

	require.Equal(t, "kept", c.get(t, "/v1/kv/kept").ok(t).body, "nothing was lost")
}
