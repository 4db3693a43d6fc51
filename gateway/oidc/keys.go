package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

const (
	// keptFor is how long keys are used without being fetched again.
	keptFor = 10 * time.Minute
	// askEvery is how often an issuer is asked at most, also for a key that it has
	// not, or when it does not answer.
	askEvery = 30 * time.Second
	// issuersKept bounds the issuers whose keys are kept, the last used ones.
	issuersKept = 10_000
	// fetchTimeout bounds one fetch, of two documents.
	fetchTimeout = 5 * time.Second
	// documentBytesMax is the largest document that is read.
	documentBytesMax = 256 << 10
	// fetchesMax bounds the fetches at the same time.
	fetchesMax = 32
)

// Config is how keys are fetched.
type Config struct {
	// AllowPrivate lets issuers be at addresses that are not public.
	AllowPrivate bool
	// Transport makes the requests; nil is one that keeps to public addresses.
	Transport http.RoundTripper
	// Now is the clock.
	Now func() time.Time
	// Log is told of issuers whose keys cannot be fetched, each every 30 s at most.
	Log *slog.Logger
}

// Keys are the keys of issuers. Safe for concurrent use.
type Keys struct {
	client *http.Client
	now    func() time.Time
	log    *slog.Logger
	slots  chan struct{}

	mu     sync.Mutex
	issuer *simplelru.LRU[string, *issuer]
}

// issuer is the keys of one issuer.
type issuer struct {
	// asking has a token while it is asked, so that many tokens ask once.
	asking chan struct{}

	mu    sync.Mutex
	keys  *auth.IssuerKeys // nil before the first that were had
	had   time.Time
	asked time.Time
	// failed tells that the last fetch was in vain.
	failed bool
}

// New makes the keys of no issuer yet.
func New(cfg Config) *Keys {
	kept, _ := simplelru.NewLRU[string, *issuer](issuersKept, nil) // it fails for a size of 0 alone
	transport := cfg.Transport
	if transport == nil {
		dialer := &net.Dialer{Timeout: fetchTimeout, Control: publicOnly}
		if cfg.AllowPrivate {
			dialer.Control = nil
		}
		transport = &http.Transport{
			DialContext: dialer.DialContext, ForceAttemptHTTP2: true, MaxIdleConns: fetchesMax, IdleConnTimeout: time.Minute,
			ResponseHeaderTimeout: fetchTimeout, MaxResponseHeaderBytes: 64 << 10,
		}
	}
	return &Keys{
		now: cfg.Now, log: cfg.Log, issuer: kept, slots: make(chan struct{}, fetchesMax),
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// Find returns the keys of an issuer, which have one of this id unless the issuer
// itself has not. The error is tenancy.ErrIssuerUnreachable, or that ctx has ended while
// somebody else asked. Who asks does so to the end, for 5 s at most.
func (k *Keys) Find(ctx context.Context, url, id string) (*auth.IssuerKeys, error) {
	i := k.of(url)
	if keys, known := i.usable(k.now(), id); known {
		return keys.orUnreachable()
	}
	if err := i.begin(ctx); err != nil {
		return nil, err
	}
	defer func() { <-i.asking }()
	if keys, known := i.usable(k.now(), id); known { // somebody else has asked meanwhile
		return keys.orUnreachable()
	}
	fetched, err := k.fetch(ctx, url)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked = k.now()
	if i.failed = err != nil; i.failed {
		k.log.Info("keys of an issuer cannot be fetched", "issuer", url, "err", err)
	} else {
		i.keys, i.had = fetched, i.asked
	}
	if i.keys == nil {
		return nil, fmt.Errorf("%w: %w", tenancy.ErrIssuerUnreachable, err)
	}
	return i.keys, nil // old ones are better than none: tokens end by themselves
}

// Failed tells whether the last fetch of an issuer's keys was in vain. Keys from before
// may still be in use.
func (k *Keys) Failed(url string) bool {
	k.mu.Lock()
	i, ok := k.issuer.Peek(url)
	k.mu.Unlock()
	if !ok {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.failed
}

// begin waits until nobody else asks. A caller that has left already still asks if
// nobody does.
func (i *issuer) begin(ctx context.Context) error {
	select {
	case i.asking <- struct{}{}:
		return nil
	default:
	}
	select {
	case i.asking <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the keys of an issuer: %w", ctx.Err())
	}
}

func (k *Keys) of(url string) *issuer {
	k.mu.Lock()
	defer k.mu.Unlock()
	found, ok := k.issuer.Get(url)
	if !ok {
		found = &issuer{asking: make(chan struct{}, 1)}
		k.issuer.Add(url, found)
	}
	return found
}

// had are keys that may not have been had yet.
type had struct{ *auth.IssuerKeys }

func (h had) orUnreachable() (*auth.IssuerKeys, error) {
	if h.IssuerKeys == nil {
		return nil, tenancy.ErrIssuerUnreachable
	}
	return h.IssuerKeys, nil
}

// usable is the keys, and whether they will do: they are fresh and have the one that
// is wanted, or the issuer was asked so lately that it must be waited.
func (i *issuer) usable(now time.Time, id string) (keys had, known bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	lately := !i.asked.IsZero() && now.Sub(i.asked) < askEvery
	return had{i.keys}, lately || i.keys != nil && now.Sub(i.had) < keptFor && i.keys.Has(id)
}

// fetch asks an issuer for its keys. It goes on when its caller has gone away: the
// answer is for all who come in the time until the issuer may be asked again.
func (k *Keys) fetch(ctx context.Context, issuer string) (*auth.IssuerKeys, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	select {
	case k.slots <- struct{}{}:
		defer func() { <-k.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	text, err := k.get(ctx, strings.TrimRight(issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return nil, err
	}
	var found struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(text, &found); err != nil {
		return nil, fmt.Errorf("read the discovery document: %w", err)
	}
	if found.Issuer != issuer {
		return nil, errors.New("the discovery document is of another issuer")
	}
	if at, err := url.Parse(found.JWKS); err != nil || at.Scheme != "https" {
		return nil, errors.New("the discovery document names no keys at a URL with https")
	}
	if text, err = k.get(ctx, found.JWKS); err != nil {
		return nil, err
	}
	return auth.ParseIssuerKeys(text)
}

func (k *Keys) get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	response, err := k.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", url, response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, documentBytesMax+1))
	if err == nil && len(text) > documentBytesMax {
		return nil, fmt.Errorf("%s answers more than %d bytes", url, documentBytesMax)
	}
	return text, err
}
