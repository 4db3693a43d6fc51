package flotilla

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// moveOnPause is for how long no second move to the next endpoint is made: of
// many calls that fail together on one, the first moves all.
const moveOnPause = 100 * time.Millisecond

// endpoints sends requests to one of several servers that are as good as each
// other, and moves on to the next when it fails. What failed is tried again, if
// it may be, by who asked for it.
type endpoints struct {
	client connect.HTTPClient
	urls   []*url.URL

	mu      sync.Mutex
	current int
	moved   time.Time
}

func newEndpoints(client connect.HTTPClient, addresses []string) *endpoints {
	e := &endpoints{client: client}
	for _, address := range addresses {
		if u, err := url.Parse(address); err == nil { // it was validated
			e.urls = append(e.urls, u)
		}
	}
	return e
}

// Do implements connect.HTTPClient. Requests are made out to the first endpoint.
func (e *endpoints) Do(req *http.Request) (*http.Response, error) {
	e.mu.Lock()
	target := e.urls[e.current]
	e.mu.Unlock()
	if target != e.urls[0] {
		u := *req.URL
		u.Scheme, u.Host = target.Scheme, target.Host
		u.Path = strings.TrimRight(target.Path, "/") + strings.TrimPrefix(u.Path, strings.TrimRight(e.urls[0].Path, "/"))
		req = req.Clone(req.Context())
		req.URL, req.Host = &u, ""
	}
	response, err := e.client.Do(req)
	switch {
	case err != nil && req.Context().Err() == nil:
		e.moveOn()
	case err == nil && response.StatusCode >= http.StatusBadGateway && response.StatusCode <= http.StatusGatewayTimeout:
		e.moveOn()
	}
	return response, err
}

// noteFailure moves on if an error tells that the present endpoint stops, or that
// the connection to it is gone.
func (e *endpoints) noteFailure(err error) {
	var failed *Error
	if !errors.As(err, &failed) {
		return
	}
	stops := failed.Reason == flotillav1.Reason_REASON_SHUTTING_DOWN
	if stops || failed.Reason == flotillav1.Reason_REASON_UNSPECIFIED && connectionLost(failed) {
		e.moveOn()
	}
}

func (e *endpoints) moveOn() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := time.Now(); now.Sub(e.moved) >= moveOnPause {
		e.moved = now
		e.current = (e.current + 1) % len(e.urls)
	}
}
