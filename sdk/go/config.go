package flotilla

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"connectrpc.com/connect"
)

// Config is how a client reaches Flotilla. URL or URLs, and APIKey are required;
// zero fields take the defaults.
type Config struct {
	// URL is the base URL of the API, such as http://127.0.0.1:7700.
	URL string
	// URLs are the base URLs of several nodes, any of which serves everything:
	// the client talks to one and moves on to the next when it stops, cannot be
	// reached, or cannot reach the others. Calls of KV go to the one that leads the
	// namespace, if these are the URLs that the nodes advertise; serializable reads,
	// which any replica answers, do not. With URL it is one more.
	URLs []string
	// APIKey is the tenant's API key, flk_<id>_<secret>.
	APIKey string
	// Timeout is the deadline of a call whose context has none, retries
	// included. Default 10 s.
	Timeout time.Duration
	// AttemptsMax is how often a call is tried at most. Default 16.
	AttemptsMax int
	// TLS configures https URLs. Default: the system's roots.
	TLS *tls.Config
	// HTTPClient replaces the client's own, for tests and proxies. It must
	// speak HTTP/2.
	HTTPClient connect.HTTPClient
}

func (c Config) withDefaults() Config {
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.AttemptsMax = cmp.Or(c.AttemptsMax, 16)
	if c.HTTPClient == nil {
		c.HTTPClient = newHTTPClient(c.TLS, len(c.endpoints()) > 1)
	}
	return c
}

// endpoints are the base URLs, of which there is at least one.
func (c Config) endpoints() []string {
	if c.URL == "" && len(c.URLs) > 0 {
		return c.URLs
	}
	return append([]string{c.URL}, c.URLs...)
}

func (c Config) validate() error {
	var errs []error
	for _, endpoint := range c.endpoints() {
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			errs = append(errs, fmt.Errorf("the URL %q is not of the form http://host:port or https://host:port", endpoint))
		}
	}
	if c.APIKey == "" {
		errs = append(errs, errors.New("the APIKey is missing"))
	}
	if c.Timeout < 0 || c.AttemptsMax < 0 {
		errs = append(errs, errors.New("neither Timeout nor AttemptsMax can be negative"))
	}
	return errors.Join(errs...)
}

// newHTTPClient makes a client that notices a server that is gone without a word
// by a ping that nobody answers: sooner if there is another one to go to.
func newHTTPClient(tlsConfig *tls.Config, others bool) *http.Client {
	quiet, unanswered := 15*time.Second, 5*time.Second
	if others {
		quiet, unanswered = 2*time.Second, 2*time.Second
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		// A copy, because the transport adds the protocols that it speaks.
		TLSClientConfig:     tlsConfig.Clone(),
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     90 * time.Second,
		Protocols:           protocols,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:           quiet,
			PingTimeout:               unanswered,
			MaxReceiveBufferPerStream: 4 << 20,
			MaxReadFrameSize:          256 << 10,
		},
	}}
}
