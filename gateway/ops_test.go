package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway"
	"github.com/flotillakv/flotilla/gateway/intercept"
)

// wellNode is a node that serves.
type wellNode struct{}

func (wellNode) Ready() error { return nil }
func (wellNode) Status() any  { return nil }

func TestProfilesAreForThisMachineAlone(t *testing.T) {
	t.Parallel()
	proxies, err := intercept.ParseProxies([]string{"10.0.0.0/8", "127.0.0.1"})
	require.NoError(t, err)
	ops := gateway.OpsHandler(wellNode{}, prometheus.NewRegistry(), http.NotFoundHandler(), proxies)
	for name, test := range map[string]struct {
		peer, forwarded string
		want            int
	}{
		"here":                             {"127.0.0.1:4000", "", http.StatusOK},
		"here, by IPv6":                    {"[::1]:4000", "", http.StatusOK},
		"elsewhere":                        {"192.0.2.1:4000", "", http.StatusForbidden},
		"a stranger who says here":         {"192.0.2.1:4000", "127.0.0.1", http.StatusForbidden},
		"a proxy":                          {"10.0.0.1:4000", "", http.StatusForbidden},
		"a proxy for another":              {"10.0.0.1:4000", "192.0.2.1", http.StatusForbidden},
		"a proxy that says here":           {"10.0.0.1:4000", "127.0.0.1", http.StatusForbidden},
		"and a port":                       {"10.0.0.1:4000", "127.0.0.1:80", http.StatusForbidden},
		"by IPv6":                          {"10.0.0.1:4000", "::1", http.StatusForbidden},
		"by IPv6 with a port":              {"10.0.0.1:4000", "[::1]:80", http.StatusForbidden},
		"a proxy here for one who says so": {"127.0.0.1:4000", "127.0.0.1", http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/pprof/cmdline", http.NoBody)
			request.RemoteAddr = test.peer
			if test.forwarded != "" {
				request.Header.Set(intercept.ForwardedFor, test.forwarded)
			}
			answer := httptest.NewRecorder()
			ops.ServeHTTP(answer, request)
			require.Equal(t, test.want, answer.Code)
		})
	}
}
