package flotilla_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// TestTLSConfigStaysAsItIs: other clients may have the same one.
func TestTLSConfigStaysAsItIs(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.Handle(flotillav1connect.NewKVServiceHandler(flotillav1connect.UnimplementedKVServiceHandler{}))
	s := httptest.NewUnstartedServer(mux)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	secure := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	client, err := flotilla.New(flotilla.Config{URL: s.URL, APIKey: "flk_test", TLS: secure, AttemptsMax: 1})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	_, err = client.Namespace("default").KV.Count(t.Context(), flotilla.AllKeys(), nil)
	require.ErrorContains(t, err, "not implemented", "the server is reached")
	require.Empty(t, secure.NextProtos)
}
