package rest

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/apierr"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

func TestTargetOf(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]target{
		"/v1/kv":              {},
		"/v1/kv/":             {},
		"/v1/kv/a":            {key: []byte("a")},
		"/v1/kv/a/b":          {key: []byte("a/b")},
		"/v1/kv/a//b":         {key: []byte("a//b")},
		"/v1/kv/../b":         {key: []byte("../b")},
		"/v1/kv/a%2Fb%00%ff":  {key: []byte("a/b\x00\xff")},
		"/v1/kv/ns/x":         {key: []byte("ns/x")},
		"/v1/ns/prod/kv":      {namespace: "prod"},
		"/v1/ns/prod/kv/kv/a": {namespace: "prod", key: []byte("kv/a")},
	} {
		got, err := targetOf(httptest.NewRequest(http.MethodGet, path, nil))
		require.NoError(t, err, path)
		require.Equal(t, want, got, path)
	}
	for _, path := range []string{"/v1/kvs", "/v1/ns/", "/v1/ns/prod", "/v1/ns//kv/a", "/v1/ns/prod/keys"} {
		_, err := targetOf(httptest.NewRequest(http.MethodGet, path, nil))
		require.ErrorIs(t, err, apierr.ErrNoSuchPath, path)
	}
}

func TestPreconditionOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		match, noneMatch string
		want             *flotillav1.Precondition
		wrong            string
	}{
		{want: nil},
		{match: `"7"`, want: &flotillav1.Precondition{ModRevision: proto.Uint64(7)}},
		{match: `7`, want: &flotillav1.Precondition{ModRevision: proto.Uint64(7)}},
		{match: `*`, want: &flotillav1.Precondition{MustExist: true}},
		{noneMatch: `*`, want: &flotillav1.Precondition{MustNotExist: true}},
		{match: `"0"`, wrong: "If-Match"},
		{match: `"7`, wrong: "If-Match"},
		{match: `"-7"`, wrong: "If-Match"},
		{match: `"7", "8"`, wrong: "If-Match"},
		{noneMatch: `"7"`, wrong: "If-None-Match"},
		{match: `*`, noneMatch: `*`, wrong: "If-Match"},
	} {
		r := httptest.NewRequest(http.MethodPut, "/v1/kv/a", nil)
		for name, value := range map[string]string{"If-Match": test.match, "If-None-Match": test.noneMatch} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		got, err := preconditionOf(r)
		if test.wrong != "" {
			require.ErrorContains(t, err, test.wrong, "%+v", test)
			continue
		}
		require.NoError(t, err, "%+v", test)
		require.True(t, proto.Equal(test.want, got), "%+v: %v", test, got)
	}
}

func TestParamsAreKnownAndWellFormed(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/v1/kv?prefx=a&limit=-1&keys_only=maybe&revision=7", nil)
	require.ErrorContains(t, onlyParams(r, "limit", "keys_only", "revision", "prefix"), `"prefx"`)
	require.ErrorContains(t, onlyParams(r), "it takes none")
	require.NoError(t, onlyParams(r, "limit", "keys_only", "revision", "prefx"))
	_, err := uintParam(r, "limit")
	require.ErrorContains(t, err, "limit")
	_, err = boolParam(r, "keys_only")
	require.ErrorContains(t, err, "keys_only")
	revision, err := uintParam(r, "revision")
	require.NoError(t, err)
	require.Equal(t, uint64(7), revision)
	absent, err := uintParam(r, "start")
	require.NoError(t, err)
	require.Zero(t, absent)
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]bool{"": false, "*": true, `"7"`: true, `"6", "7"`: true, `"77"`: false, `7`: false} {
		require.Equal(t, want, matches(header, 7), header)
	}
}
