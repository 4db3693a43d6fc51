package oidc

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tenancy"
)

// local is an issuer on this machine, which does what a test says.
type local struct {
	server *httptest.Server

	mu sync.Mutex
	// asked counts the requests by path.
	asked map[string]int
	// ids are those of the keys that it has.
	ids []string
	// discovery and jwks take the place of what it answers by itself.
	discovery, jwks http.HandlerFunc
}

const (
	discoveryPath = "/.well-known/openid-configuration"
	jwksPath      = "/keys"
)

func startIssuer(t *testing.T) *local {
	t.Helper()
	i := &local{asked: make(map[string]int), ids: []string{"one"}}
	i.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		i.asked[r.URL.Path]++
		serve := map[string]http.HandlerFunc{discoveryPath: i.discovery, jwksPath: i.jwks}[r.URL.Path]
		ids := i.ids
		i.mu.Unlock()
		switch {
		case serve != nil:
			serve(w, r)
		case r.URL.Path == discoveryPath:
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, i.server.URL, i.server.URL+jwksPath)
		case r.URL.Path == jwksPath:
			_ = json.NewEncoder(w).Encode(keySet(ids))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(i.server.Close)
	return i
}

// keySet is keys of these ids.
func keySet(ids []string) jose.JSONWebKeySet {
	var set jose.JSONWebKeySet
	for _, id := range ids {
		public, _, _ := ed25519.GenerateKey(rand.Reader)
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: public, KeyID: id, Use: "sig"})
	}
	return set
}

func (i *local) set(change func(*local)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(i)
}

func (i *local) count(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked[path]
}

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_800_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (i *local) keys(c *clock) *Keys {
	return New(Config{AllowPrivate: true, Transport: i.server.Client().Transport, Now: c.Now, Log: slog.New(slog.DiscardHandler)})
}

func TestKeysAreFetchedSeldom(t *testing.T) {
	t.Parallel()
	issuer, c := startIssuer(t), newClock()
	keys := issuer.keys(c)
	find := func(id string) bool {
		found, err := keys.Find(t.Context(), issuer.server.URL, id)
		require.NoError(t, err)
		return found.Has(id)
	}
	require.True(t, find("one"))
	c.move(9 * time.Minute)
	require.True(t, find("one"))
	require.Equal(t, 1, issuer.count(jwksPath))

	issuer.set(func(i *local) { i.ids = []string{"one", "two"} })
	require.True(t, find("two"), "a key that is not known is asked for")
	for range 100 {
		require.False(t, find("three"))
	}
	require.Equal(t, 2, issuer.count(jwksPath), "at most once in 30 s")
	c.move(29 * time.Second)
	require.False(t, find("three"))
	require.Equal(t, 2, issuer.count(jwksPath))
	c.move(time.Second)
	require.False(t, find("three"))
	require.Equal(t, 3, issuer.count(jwksPath))

	issuer.set(func(i *local) { i.ids = []string{"two"} })
	c.move(10 * time.Minute)
	require.False(t, find("one"), "a key that the issuer has given up is forgotten")
	require.True(t, find("two"))
}

func TestManyTokensAskOnce(t *testing.T) {
	t.Parallel()
	issuer, c := startIssuer(t), newClock()
	keys := issuer.keys(c)
	var asking sync.WaitGroup
	for range 50 {
		asking.Go(func() {
			if _, err := keys.Find(t.Context(), issuer.server.URL, "one"); err != nil {
				t.Errorf("find: %v", err)
			}
		})
	}
	asking.Wait()
	require.Equal(t, 1, issuer.count(discoveryPath))
}

// TestWaitingEndsWithItsCaller: an issuer that is slow holds up nobody who has left.
func TestWaitingEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		keys := New(Config{Now: time.Now, Transport: silent{}, Log: slog.New(slog.DiscardHandler)})
		begin := time.Now()
		first := make(chan error, 1)
		go func() {
			_, err := keys.Find(t.Context(), "https://issuer.example", "one")
			first <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := keys.Find(ctx, "https://issuer.example", "one")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(begin))
		require.ErrorIs(t, <-first, tenancy.ErrIssuerUnreachable)
		require.Equal(t, fetchTimeout, time.Since(begin), "nobody is waited for longer")
	})
}

// silent answers nothing.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// TestIssuersThatAnswerWrong get no keys in, and old keys stay.
func TestIssuersThatAnswerWrong(t *testing.T) {
	t.Parallel()
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, s) }
	}
	elsewhere := startIssuer(t)
	for name, change := range map[string]func(*local){
		"not found": func(i *local) { i.discovery = http.NotFound },
		"no JSON":   func(i *local) { i.discovery = text("hello") },
		"another issuer": func(i *local) {
			i.discovery = text(`{"issuer":"https://other.example","jwks_uri":"` + i.server.URL + jwksPath + `"}`)
		},
		"no keys' URL": func(i *local) { i.discovery = text(fmt.Sprintf(`{"issuer":%q}`, i.server.URL)) },
		"keys without TLS": func(i *local) {
			i.discovery = text(fmt.Sprintf(`{"issuer":%q,"jwks_uri":"http://127.0.0.1/keys"}`, i.server.URL))
		},
		"keys in a file": func(i *local) {
			i.discovery = text(fmt.Sprintf(`{"issuer":%q,"jwks_uri":"file:///etc/passwd"}`, i.server.URL))
		},
		"elsewhere":             func(i *local) { i.discovery = redirectTo(elsewhere.server.URL + discoveryPath) },
		"keys elsewhere":        func(i *local) { i.jwks = redirectTo(elsewhere.server.URL + jwksPath) },
		"a huge document":       func(i *local) { i.discovery = endless },
		"huge keys":             func(i *local) { i.jwks = endless },
		"keys that are none":    func(i *local) { i.jwks = text(`{"keys":[]}`) },
		"a document of another": func(i *local) { i.discovery = text("[]") },
		"an error of its own": func(i *local) {
			i.jwks = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
		},
		"an answer that is cut":    func(i *local) { i.jwks = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) } },
		"a document without a end": func(i *local) { i.discovery = text(`{"issuer":`) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer, c := startIssuer(t), newClock()
			issuer.server.Config.ErrorLog = nil
			good := issuer.keys(c)
			_, err := good.Find(t.Context(), issuer.server.URL, "one")
			require.NoError(t, err)
			require.False(t, good.Failed(issuer.server.URL))
			issuer.set(change)
			_, err = issuer.keys(c).Find(t.Context(), issuer.server.URL, "one")
			require.ErrorIs(t, err, tenancy.ErrIssuerUnreachable)
			require.Zero(t, elsewhere.count(discoveryPath)+elsewhere.count(jwksPath), "redirects are not followed")
			c.move(time.Hour)
			old, err := good.Find(t.Context(), issuer.server.URL, "one")
			require.NoError(t, err)
			require.True(t, old.Has("one"))
			require.True(t, good.Failed(issuer.server.URL), "old keys do not hide it")
			issuer.set(func(i *local) { i.discovery, i.jwks = nil, nil })
			c.move(time.Hour)
			_, err = good.Find(t.Context(), issuer.server.URL, "one")
			require.NoError(t, err)
			require.False(t, good.Failed(issuer.server.URL))
			require.False(t, good.Failed("https://never-asked.example"))
		})
	}
}

func redirectTo(url string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, url, http.StatusFound) }
}

// endless answers until its caller has had enough.
func endless(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := w.Write([]byte(strings.Repeat(" ", 64<<10))); err != nil {
			return
		}
	}
}

func TestCertificatesAreChecked(t *testing.T) {
	t.Parallel()
	issuer := startIssuer(t)
	keys := New(Config{AllowPrivate: true, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	_, err := keys.Find(t.Context(), issuer.server.URL, "one")
	require.ErrorIs(t, err, tenancy.ErrIssuerUnreachable)
	require.ErrorContains(t, err, "certificate")
}

func TestPrivateIssuersAreNotAsked(t *testing.T) {
	t.Parallel()
	issuer := startIssuer(t)
	keys := New(Config{Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	_, err := keys.Find(t.Context(), issuer.server.URL, "one")
	require.ErrorIs(t, err, tenancy.ErrIssuerUnreachable)
	require.ErrorContains(t, err, "not a public one")
	require.Zero(t, issuer.count(discoveryPath))
}

func TestPublicOnly(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"127.0.0.1", "127.8.8.8", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.127.255.255",
		"0.0.0.0", "0.1.2.3", "192.0.0.170", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1",
		"[::1]", "[::]", "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[fe80::1%eth0]", "[fec0::1]", "[ff02::1]",
		"[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[::ffff:169.254.169.254]", "[::ffff:100.64.0.1]", "[::127.0.0.1]",
		"[64:ff9b::7f00:1]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[2001:db8::1]",
	} {
		require.Error(t, publicOnly("tcp", address+":443", nil), address)
	}
	for _, address := range []string{"8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", "[2606:4700::1111]", "[2a00:1450::1]", "[::ffff:8.8.8.8]"} {
		require.NoError(t, publicOnly("tcp", address+":443", nil), address)
	}
	for _, address := range []string{"", "issuer.example:443", "8.8.8.8"} {
		require.Error(t, publicOnly("tcp", address, nil), "%q is no address", address)
	}
}
