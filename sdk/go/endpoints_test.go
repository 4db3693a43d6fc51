package flotilla

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// servers answers requests for the hosts that it has.
type servers map[string]int // status; 0 is a host that cannot be reached

func (s servers) Do(req *http.Request) (*http.Response, error) {
	status := s[req.URL.Host]
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Served": {req.URL.String()}}, Body: io.NopCloser(strings.NewReader(""))}, nil
}

func ask(t *testing.T, e *endpoints) (served string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://n1/base/rpc/Put", http.NoBody)
	require.NoError(t, err)
	response, err := e.Do(req)
	if err != nil {
		return ""
	}
	require.NoError(t, response.Body.Close())
	return response.Header.Get("Served")
}

func TestEndpointsMoveOnFromOneThatFails(t *testing.T) {
	t.Parallel()
	up := servers{"n1": 200, "n2": 200, "n3": 200}
	e := newEndpoints(up, []string{"http://n1/base", "https://n2/", "http://n3/other"})
	require.Equal(t, "http://n1/base/rpc/Put", ask(t, e))
	up["n1"] = 0
	require.Empty(t, ask(t, e))
	require.Equal(t, "https://n2/rpc/Put", ask(t, e))
	require.Equal(t, "https://n2/rpc/Put", ask(t, e), "it stays where it is served")
	for range 5 {
		e.noteFailure(1, &Error{Reason: flotillav1.Reason_REASON_SHUTTING_DOWN})
	}
	require.Equal(t, "http://n3/other/rpc/Put", ask(t, e), "many that fail together move on once")
	up["n3"] = http.StatusServiceUnavailable
	ask(t, e)
	require.Empty(t, ask(t, e), "n1 is down")
	require.Equal(t, "https://n2/rpc/Put", ask(t, e))
	e.noteFailure(1, &Error{Reason: flotillav1.Reason_REASON_INVALID_FIELD})
	require.Equal(t, "https://n2/rpc/Put", ask(t, e), "what the caller did wrong is no fault of the endpoint")
}

func TestLeadersAreGoneToAmongTheEndpointsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoints(servers{}, []string{"http://n1:1/base", "https://n2:2", "http://n3:3"})
		learn := func(namespace, apiURL string) {
			e.learn([]*flotillav1.NamespaceLeader{{Namespace: namespace, ApiUrl: apiURL}})
		}
		learn("a", "HTTPS://N2:2/")
		require.Equal(t, 1, e.leader("a"))
		require.Equal(t, 0, e.leader("b"), "each namespace has its own")
		for _, stranger := range []string{"http://n2:2", "https://n2", "https://n9:2", "::", ""} {
			learn("b", stranger)
			require.Equal(t, 0, e.leader("b"), stranger)
		}
		learn("b", "https://n2:2")
		learn("a", "http://n3:3")
		require.Equal(t, []int{2, 1}, []int{e.leader("a"), e.leader("b")})

		// One that fails is left by all, and not gone to again at once.
		broken := unreachable(errors.New("reset"), true)
		e.noteFailure(2, broken)
		require.Equal(t, []int{0, 1}, []int{e.leader("a"), e.leader("b")})
		learn("a", "http://n3:3")
		require.Equal(t, 0, e.leader("a"))
		<-time.After(shunFor)
		learn("a", "http://n3:3")
		require.Equal(t, 2, e.leader("a"))
		e.noteFailure(0, broken)
		require.Equal(t, []int{2, 1, 1}, []int{e.leader("a"), e.leader("b"), e.leader("c")})

		for i := range 2 * leadersMax {
			learn(strconv.Itoa(i), "http://n3:3")
			require.Len(t, e.known.Load().leaders, min(3+i, leadersMax), "a new one takes the place of one")
		}
		many := make([]*flotillav1.NamespaceLeader, 256)
		for i := range many {
			many[i] = &flotillav1.NamespaceLeader{Namespace: "n" + strconv.Itoa(i), ApiUrl: "http://n3:3"}
		}
		e.learn(many)
		require.Len(t, e.known.Load().leaders, leadersMax)

		// Who is left goes on being shunned, and nothing is copied for it.
		e.leave(0)
		before := e.known.Load()
		e.leave(0)
		require.Same(t, before, e.known.Load())
		learn("x", "http://n1:1")
		require.Same(t, before, e.known.Load())
	})
}

func TestEndpointsAreKnownByTheirAddress(t *testing.T) {
	t.Parallel()
	e := newEndpoints(servers{}, []string{"https://n1", "http://n2:80/base", "https://[2001:DB8::1]:443", "http://n4:443"})
	for told, place := range map[string]int{
		"https://n1:443": 0, "https://N1/": 0, "http://n1": -1, "https://n1:80": -1,
		"http://n2": 1, "http://n2:80": 1, "https://n2": -1,
		"https://[2001:db8::1]": 2, "http://n4:443": 3, "http://n4": -1, "n1:443": -1, "//n1:443": -1,
	} {
		require.Equal(t, place, e.find(told), told)
	}
}

func TestURLsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := New(Config{URLs: []string{"http://n1:7700", "n2:7700"}, APIKey: "k"})
	require.ErrorContains(t, err, `"n2:7700"`)
	_, err = New(Config{APIKey: "k"})
	require.ErrorContains(t, err, "http://host:port")
	client, err := New(Config{URLs: []string{"http://n1:7700", "http://n2:7700"}, APIKey: "k"})
	require.NoError(t, err)
	require.NoError(t, client.Close())
}

// While no endpoint reaches a leader, as in an election, clients do not hop wildly.
func TestDoubtsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoints(servers{}, []string{"http://n1", "http://n2", "http://n3"})
		noLeader := &Error{Reason: flotillav1.Reason_REASON_NOT_LEADER}
		hops, callers := 0, make([]visitor, 100)
		for i := range callers {
			callers[i].all = e
		}
		for range 100 {
			for i := range callers {
				before := e.present()
				callers[i].visit(before)
				callers[i].ended(noLeader)
				if e.present() != before {
					hops++
				}
			}
			<-time.After(10 * time.Millisecond)
		}
		require.Equal(t, 1, hops, "in a second")
	})
}

func TestAnEndpointIsLeftWhereNoCallGetsThrough(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEndpoints(servers{}, []string{"http://n1", "http://n2"})
		call := func(err error) (present int) {
			v := visitor{all: e}
			v.visit(e.present())
			v.ended(err)
			return e.present()
		}
		timedOut := interrupted(context.DeadlineExceeded, context.DeadlineExceeded, true)
		require.Zero(t, call(timedOut))
		<-time.After(doubtedMax - time.Millisecond)
		require.Zero(t, call(timedOut))
		require.Zero(t, call(nil))
		<-time.After(time.Millisecond)
		require.Zero(t, call(timedOut), "one got through")
		require.Zero(t, call(interrupted(context.Canceled, context.Canceled, true)))
		<-time.After(doubtedMax)
		require.Zero(t, call(&Error{Reason: flotillav1.Reason_REASON_REVISION_MISMATCH}))
		require.Equal(t, 1, call(timedOut))
		require.Equal(t, 1, call(timedOut), "the next is judged anew")
	})
}
