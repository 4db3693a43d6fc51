package flotilla

import (
	"errors"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
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
	hosts  []string // by place: what find compares
	// known changes seldom and is read by every call, so it is replaced as a whole.
	known atomic.Pointer[knownEndpoints]
	// doubted is, by place, since when no call got through there; nil if one did.
	doubted []atomic.Pointer[time.Time]

	mu        sync.Mutex  // of those who replace known
	shun      []time.Time // by place: until when it is not gone to as a leader
	doubtLeft time.Time   // when one was left for a doubt
}

// knownEndpoints is where requests go.
type knownEndpoints struct {
	present int
	leaders map[string]int // places by namespace
}

func newEndpoints(client connect.HTTPClient, addresses []string) *endpoints {
	e := &endpoints{
		client: client, shun: make([]time.Time, len(addresses)),
		doubted: make([]atomic.Pointer[time.Time], len(addresses)),
	}
	for _, address := range addresses {
		if u, err := url.Parse(address); err == nil { // it was validated
			e.urls = append(e.urls, u)
			e.hosts = append(e.hosts, hostOf(u))
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
	e.moveOn(place)
}

// moveOn needs mu. It tells whether there was anything that went to the endpoint.
func (e *endpoints) moveOn(place int) bool {
	e.shun[place] = time.Now().Add(shunFor)
	known := *e.known.Load()
	if !known.goesTo(place) {
		return false
	}
	if known.present == place {
		known.present = (place + 1) % len(e.urls)
	}
	known.leaders = maps.Clone(known.leaders)
	maps.DeleteFunc(known.leaders, func(_ string, leader int) bool { return leader == place })
	e.known.Store(&known)
	return true
}

// goesTo tells whether anything goes to an endpoint.
func (k *knownEndpoints) goesTo(place int) bool {
	if k.present == place {
		return true
	}
	for _, leader := range k.leaders {
		if leader == place {
			return true
		}
	}
	return false
}

// learn takes over who leads namespaces. A server outside the client's configuration
// is never gone to: it would be given the credential.
func (e *endpoints) learn(told []*flotillav1.NamespaceLeader) {
	var news map[string]int
	for _, leader := range told {
		place := e.find(leader.GetApiUrl())
		if place < 0 || e.leader(leader.GetNamespace()) == place {
			continue
		}
		if news == nil {
			news = make(map[string]int)
		}
		news[leader.GetNamespace()] = place
	}
	if news == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(news, func(_ string, place int) bool { return now.Before(e.shun[place]) })
	if len(news) == 0 {
		return
	}
	known := *e.known.Load()
	leaders := make(map[string]int, min(len(known.leaders)+len(news), leadersMax))
	maps.Copy(leaders, known.leaders)
	for namespace, place := range news {
		if _, ok := leaders[namespace]; !ok && len(leaders) >= leadersMax {
			for other := range leaders { // whichever comes: it is told again
				delete(leaders, other)
				break
			}
		}
		leaders[namespace] = place
	}
	known.leaders = leaders
	e.known.Store(&known)
}

// find is the place of the endpoint of a base URL, and -1 if there is none.
func (e *endpoints) find(address string) int {
	u, err := url.Parse(address)
	if err != nil {
		return -1
	}
	return slices.Index(e.hosts, hostOf(u))
}

// hostOf is what two URLs of one server have in common: "https://N1" and
// "https://n1:443/" are the same.
func hostOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
