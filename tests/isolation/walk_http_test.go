package isolation

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// plain makes a request of the plain HTTP surface, and returns its status.
func plain(t *testing.T, client *http.Client, method, path, credential string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, shared.node.APIURL()+path, http.NoBody)
	require.NoError(t, err)
	if credential != "" {
		request.Header.Set("Authorization", bearer(credential).header())
	}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	if response.Header.Get("Content-Type") != "text/event-stream" { // which does not end
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
	}
	return response.StatusCode
}

// TestPlainWalk makes every kind of request of the plain HTTP surface with each
// credential that is none, and with those that allow something else.
func TestPlainWalk(t *testing.T) {
	t.Parallel()
	w := newWalker(t)
	_, err := as(w.tenant.key).kv.Put(t.Context(), &flotillav1.PutRequest{Key: walkKey()})
	require.NoError(t, err)
	wrong := wrongOf(t, w.tenant)
	for _, row := range []struct {
		method, path string
		needs        tenancy.Action
	}{
		{http.MethodGet, "/v1/kv/walk/k", read},
		{http.MethodHead, "/v1/kv/walk/k", read},
		{http.MethodGet, "/v1/ns/default/kv/walk/k", read},
		{http.MethodGet, "/v1/kv?prefix=walk/", read},
		{http.MethodGet, "/v1/ns/default/kv?prefix=walk/&keys_only=true", read},
		{http.MethodPut, "/v1/kv/walk/k", write},
		{http.MethodDelete, "/v1/kv/walk/gone", write},
		{http.MethodGet, "/v1/kv/walk/k?watch=true", watch},
		{http.MethodGet, "/v1/kv?watch=true&prefix=walk/", watch},
		{http.MethodPatch, "/v1/kv/walk/k", 0},
		{http.MethodOptions, "/v1/kv/walk/k", 0},
		{http.MethodGet, "/v1/kvs", 0},
		{http.MethodGet, "/v1/ns/", 0},
		{http.MethodGet, "/v1/ns/default/secrets", 0},
	} {
		for _, client := range []*http.Client{http2(newPlace()), http1(newPlace())} {
			for name, credential := range wrong {
				require.Equal(t, http.StatusUnauthorized, plain(t, client, row.method, row.path, credential), "%s %s with %s", row.method, row.path, name)
			}
			require.Equal(t, http.StatusUnauthorized, plain(t, client, row.method, row.path, "Basic "+w.tenant.key))
			if row.needs == 0 {
				require.GreaterOrEqual(t, plain(t, client, row.method, row.path, w.tenant.key), 400)
				continue
			}
			of := walked{needs: row.needs}
			for _, credential := range append([]string{w.tenant.key}, as2(w.credentials(t, of.enough()))...) {
				require.Equal(t, http.StatusOK, plain(t, client, row.method, row.path, credential), "%s %s", row.method, row.path)
			}
			for name, permissions := range of.short() {
				for _, credential := range w.credentials(t, permissions) {
					require.Equal(t, http.StatusForbidden, plain(t, client, row.method, row.path, credential), "%s %s for %s", row.method, row.path, name)
				}
			}
		}
	}
	require.Equal(t, http.StatusOK, plain(t, http2(""), http.MethodGet, "/.well-known/jwks.json", ""), "public keys are for everybody")
}

func as2(pair [2]string) []string { return pair[:] }
