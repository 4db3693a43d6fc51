package flotilla

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

const (
	// leadersMax bounds the namespaces whose leaders are known.
	leadersMax = 1024
	// shunFor is for how long an endpoint that failed is not gone to because it leads:
	// others may reach it where this client does not.
	shunFor = 5 * time.Second
)

// endpoints are the servers of a client, any of which serves everything. Requests go
// to the present one, and on to the next when it fails; those for a namespace whose
// leader is known, and is one of them, go there, which saves a hop. What failed is
// tried again, if it may be, by who asked for it. An endpoint is known by its place.
type endpoints struct {
	client connect.HTTPClient
	urls   []*url.URL
	// known changes seldom and is read by every call, so it is replaced as a whole.
	known atomic.Pointer[knownEndpoints]

	mu   sync.Mutex  // of those who replace known
	shun []time.Time // by place: until when it is not gone to as a leader
}

// knownEndpoints is where requests go.
type knownEndpoints struct {
	present int
	leaders map[string]int // places by namespace
}

func newEndpoints(client connect.HTTPClient, addresses []string) *endpoints {
	e := &endpoints{client: client, shun: make([]time.Time, len(addresses))}
	for _, address := range addresses {
		if u, err := url.Parse(address); err == nil { // it was validated
			e.urls = append(e.urls, u)
		}
	}
	e.known.Store(&knownEndpoints{})
	return e
}

// present is the endpoint that requests go to.
func (e *endpoints) present() int { return e.known.Load().present }

// leader is the endpoint that leads a namespace as far as is known, or the present
// one.
func (e *endpoints) leader(namespace string) int {
	known := e.known.Load()
	if place, ok := known.leaders[namespace]; ok {
		return place
	}
	return known.present
}

// Do implements connect.HTTPClient: it asks the present endpoint.
func (e *endpoints) Do(req *http.Request) (*http.Response, error) { return e.ask(e.present(), req) }

// An endpoint is one of several.
type endpoint struct {
	all   *endpoints
	place int
}

// Do implements connect.HTTPClient.
func (e endpoint) Do(req *http.Request) (*http.Response, error) { return e.all.ask(e.place, req) }

// ask sends a request, which was made out to the first endpoint, to one of them.
func (e *endpoints) ask(place int, req *http.Request) (*http.Response, error) {
	if target := e.urls[place]; place != 0 {
		u := *req.URL
		u.Scheme, u.Host = target.Scheme, target.Host
		u.Path = strings.TrimRight(target.Path, "/") + strings.TrimPrefix(u.Path, strings.TrimRight(e.urls[0].Path, "/"))
		req = req.Clone(req.Context())
		req.URL, req.Host = &u, ""
	}
	response, err := e.client.Do(req)
	switch {
	case err != nil && req.Context().Err() == nil:
		e.leave(place)
	case err == nil && response.StatusCode >= http.StatusBadGateway && response.StatusCode <= http.StatusGatewayTimeout:
		e.leave(place)
	}
	return response, err
}

// noteFailure leaves an endpoint if an error of it tells that it stops, or that the
// connection to it is gone.
func (e *endpoints) noteFailure(place int, err error) {
	var failed *Error
	if !errors.As(err, &failed) {
		return
	}
	stops := failed.Reason == flotillav1.Reason_REASON_SHUTTING_DOWN
	if stops || failed.Reason == flotillav1.Reason_REASON_UNSPECIFIED && connectionLost(failed) {
		e.leave(place)
	}
}

// leave has requests go elsewhere. Of many calls that fail together on one endpoint
// the first moves all.
func (e *endpoints) leave(place int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shun[place] = time.Now().Add(shunFor)
	known := *e.known.Load()
	if known.present == place {
		known.present = (place + 1) % len(e.urls)
	}
	known.leaders = maps.Clone(known.leaders)
	maps.DeleteFunc(known.leaders, func(_ string, leader int) bool { return leader == place })
	e.known.Store(&known)
}

// learn takes over who leads a namespace. A server outside the client's configuration
// is never gone to: it would be given the credential.
func (e *endpoints) learn(namespace, address string) {
	place := e.find(address)
	if place < 0 || e.leader(namespace) == place {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Now().Before(e.shun[place]) {
		return
	}
	known := *e.known.Load()
	if len(known.leaders) >= leadersMax {
		known.leaders = nil // they are told again
	}
	leaders := make(map[string]int, len(known.leaders)+1)
	maps.Copy(leaders, known.leaders)
	leaders[namespace] = place
	known.leaders = leaders
	e.known.Store(&known)
}

// find is the place of the endpoint of a base URL, and -1 if there is none.
func (e *endpoints) find(address string) int {
	u, err := url.Parse(address)
	if err != nil {
		return -1
	}
	for place, own := range e.urls {
		if own.Scheme == u.Scheme && strings.EqualFold(own.Host, u.Host) {
			return place
		}
	}
	return -1
}
