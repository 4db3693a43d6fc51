package oidc_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway/oidc"
	"github.com/flotillakv/flotilla/tenancy"
)

const issuerURL = "https://issuer.example.com"

// answers is an issuer with one key, k1.
type answers struct{ asked int }

// RoundTrip implements http.RoundTripper.
func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	text := `{"issuer": "` + issuerURL + `", "jwks_uri": "` + issuerURL + `/keys"}`
	if r.URL.Path == "/keys" {
		a.asked++
		text = `{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": "7_BX4k69jrMrjBOPier_DlfnLsHmiQrX4fJVF0_wZx8"}]}`
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(text))}, nil
}

// TestCallersThatGoAway has a caller's end not keep the keys from those who come
// after it: anybody can send a token that claims to be of an issuer, and go.
func TestCallersThatGoAway(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	issuer := &answers{}
	keys := oidc.New(oidc.Config{Transport: issuer, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := keys.Find(gone, issuerURL, "k1")
	require.NoError(t, err)
	found, err := keys.Find(t.Context(), issuerURL, "k1")
	require.NoError(t, err)
	require.True(t, found.Has("k1"))

	_, err = keys.Find(t.Context(), issuerURL, "unknown")
	require.NoError(t, err)
	require.Equal(t, 1, issuer.asked, "it was asked just now")
	now = now.Add(30 * time.Second)
	_, err = keys.Find(t.Context(), issuerURL, "unknown")
	require.NoError(t, err)
	require.Equal(t, 2, issuer.asked)
}

// TestAddressesThatAreNotPublic are not connected to, whatever a tenant says.
func TestAddressesThatAreNotPublic(t *testing.T) {
	t.Parallel()
	keys := oidc.New(oidc.Config{Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	for _, host := range []string{
		"127.0.0.1:1", "[::1]:1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "100.64.0.1", "[fd00::1]", "[fe80::1]", "[::ffff:10.0.0.1]", "0.0.0.0:1",
	} {
		_, err := keys.Find(t.Context(), "https://"+host, "")
		require.ErrorIs(t, err, tenancy.ErrIssuerUnreachable, host)
		require.ErrorContains(t, err, "not a public one", host)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
	}
}
