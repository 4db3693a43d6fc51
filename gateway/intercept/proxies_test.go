package intercept

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func parseProxies(tb testing.TB, list ...string) Proxies {
	tb.Helper()
	p, err := ParseProxies(list)
	require.NoError(tb, err)
	return p
}

func TestClientBehindProxies(t *testing.T) {
	t.Parallel()
	proxies := parseProxies(t, "10.0.0.0/8", "192.0.2.1", "2001:db8:1::/48")
	for name, test := range map[string]struct {
		peer      string
		forwarded []string
		want      string
	}{
		"a client, no header":                  {"203.0.113.9:4000", nil, "203.0.113.9:4000"},
		"a client that lies":                   {"203.0.113.9:4000", []string{"198.51.100.1"}, "203.0.113.9:4000"},
		"a client that says it is a proxy":     {"203.0.113.9:4000", []string{"198.51.100.1, 10.0.0.1"}, "203.0.113.9:4000"},
		"a proxy, no header":                   {"10.0.0.1:4000", nil, "10.0.0.1:4000"},
		"one proxy":                            {"10.0.0.1:4000", []string{"203.0.113.9"}, "203.0.113.9"},
		"one proxy, a client that lied":        {"10.0.0.1:4000", []string{"198.51.100.1, 203.0.113.9"}, "203.0.113.9"},
		"one proxy, a client as a proxy":       {"10.0.0.1:4000", []string{"10.0.0.7, 203.0.113.9"}, "203.0.113.9"},
		"two proxies":                          {"10.0.0.1:4000", []string{"198.51.100.1,203.0.113.9 ,\t192.0.2.1"}, "203.0.113.9"},
		"many lines":                           {"10.0.0.1:4000", []string{"198.51.100.1", "203.0.113.9, 10.3.0.1", "10.0.0.2"}, "203.0.113.9"},
		"a request of a proxy itself":          {"10.0.0.1:4000", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"with a port":                          {"10.0.0.1:4000", []string{"203.0.113.9:8123"}, "203.0.113.9"},
		"IPv6":                                 {"[2001:db8:1::2]:4000", []string{"2001:db8:2::1, 2001:DB8:1:0::3"}, "2001:db8:2::1"},
		"IPv6 in brackets":                     {"10.0.0.1:4000", []string{"[2001:db8:2::1]"}, "2001:db8:2::1"},
		"IPv6 with a port":                     {"10.0.0.1:4000", []string{"[2001:db8:2::1]:443"}, "2001:db8:2::1"},
		"IPv4 in IPv6":                         {"[::ffff:10.0.0.1]:4000", []string{"203.0.113.9, ::ffff:192.0.2.1"}, "203.0.113.9"},
		"garbage":                              {"10.0.0.1:4000", []string{"203.0.113.9, unknown"}, "10.0.0.1:4000"},
		"garbage before a proxy":               {"10.0.0.1:4000", []string{"203.0.113.9, unknown, 10.0.0.2"}, "10.0.0.2"},
		"garbage before the client":            {"10.0.0.1:4000", []string{"' OR 1=1, 203.0.113.9"}, "203.0.113.9"},
		"nothing":                              {"10.0.0.1:4000", []string{"203.0.113.9,"}, "10.0.0.1:4000"},
		"an empty line":                        {"10.0.0.1:4000", []string{"203.0.113.9", ""}, "10.0.0.1:4000"},
		"a zone":                               {"10.0.0.1:4000", []string{"203.0.113.9, fe80::1%eth0"}, "10.0.0.1:4000"},
		"half a bracket":                       {"10.0.0.1:4000", []string{"[2001:db8::1"}, "10.0.0.1:4000"},
		"a name":                               {"10.0.0.1:4000", []string{"client.example.com"}, "10.0.0.1:4000"},
		"a long header":                        {"10.0.0.1:4000", []string{strings.Repeat("198.51.100.1, ", 1000) + "203.0.113.9"}, "203.0.113.9"},
		"a long entry":                         {"10.0.0.1:4000", []string{strings.Repeat("1", 10_000)}, "10.0.0.1:4000"},
		"a long entry before a proxy":          {"10.0.0.1:4000", []string{strings.Repeat("1", 10_000) + ", 10.0.0.2"}, "10.0.0.2"},
		"spaces without end":                   {"10.0.0.1:4000", []string{"203.0.113.9" + strings.Repeat(" ", 10_000)}, "10.0.0.1:4000"},
		"no more than 32 proxies are believed": {"10.0.0.1:4000", []string{"203.0.113.9" + strings.Repeat(", 10.0.0.2", 40)}, "10.0.0.2"},
		"a peer that is no address":            {"@", []string{"203.0.113.9"}, "@"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, proxies.Client(test.peer, test.forwarded))
			require.Equal(t, test.peer, Proxies{}.Client(test.peer, test.forwarded), "nobody is believed by default")
		})
	}
}

func TestParseProxies(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"10.0.0.0/8":           "",
		"192.0.2.1":            "",
		"::1":                  "",
		"2001:db8::/32":        "",
		"":                     "no address",
		"lb.example.com":       "no address",
		"10.0.0.0/33":          "no address",
		"fe80::1%eth0":         "no address",
		"10.0.0.1/8":           "say 10.0.0.0/8 for the range, or 10.0.0.1 for the address",
		"0.0.0.0/0":            "every caller could say that it came from anywhere",
		"::/0":                 "every caller could say that it came from anywhere",
		"::ffff:10.0.0.0/104":  "say it as IPv4",
		"::ffff:192.0.2.1":     "say it as IPv4",
		"10.0.0.0/8 127.0.0.1": "no address",
	} {
		_, err := ParseProxies([]string{"127.0.0.1", text})
		if want == "" {
			require.NoError(t, err, text)
		} else {
			require.ErrorContains(t, err, want, text)
		}
	}
	_, err := ParseProxies(make([]string, proxiesMax+1))
	require.ErrorContains(t, err, "257 are too many")
}

// The handler sees the client, and who called the handler still its own request.
func TestHandlerSeesTheClient(t *testing.T) {
	t.Parallel()
	seen := ""
	next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.RemoteAddr })
	for _, test := range []struct {
		proxies Proxies
		peer    string
		want    string
	}{
		{Proxies{}, "10.0.0.1:4000", "10.0.0.1:4000"},
		{parseProxies(t, "10.0.0.1"), "10.0.0.1:4000", "203.0.113.9"},
		{parseProxies(t, "10.0.0.1"), "10.0.0.2:4000", "10.0.0.2:4000"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.RemoteAddr = test.peer
		r.Header.Add("x-forwarded-for", "198.51.100.1")
		r.Header.Add("X-Forwarded-For", "203.0.113.9")
		test.proxies.Handler(next).ServeHTTP(httptest.NewRecorder(), r)
		require.Equal(t, test.want, seen)
		require.Equal(t, test.peer, r.RemoteAddr)
	}
}

// Whatever the header says, the answer is the peer, or an address of the header; and
// who is no trusted proxy is not believed.
func FuzzClientBehindProxies(f *testing.F) {
	f.Add("10.0.0.1:4000", "203.0.113.9, 10.0.0.2", "10.0.0.3")
	f.Add("203.0.113.9:4000", "[2001:db8::1]:443", "fe80::1%eth0")
	f.Add("[::ffff:10.0.0.1]:1", ",,", "\x00")
	proxies := parseProxies(f, "10.0.0.0/8", "2001:db8:1::/48")
	f.Fuzz(func(t *testing.T, peer, line1, line2 string) {
		client := proxies.Client(peer, []string{line1, line2})
		if client == peer {
			return
		}
		from, ok := parseHop(peer)
		require.True(t, ok && proxies.trusts(from), "%q is not to be believed", peer)
		address, err := netip.ParseAddr(client)
		require.NoError(t, err)
		require.Empty(t, address.Zone())
		require.False(t, address.Is4In6())
	})
}
