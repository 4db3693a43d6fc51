package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/flotillakv/flotilla/placement/catalog"
)

const (
	// jwksPath is where the public keys of tokens are told.
	jwksPath = "/.well-known/jwks.json"
	// jwksTimeout bounds the reading of the keys.
	jwksTimeout = 5 * time.Second
	// jwksAgain is after what time keys that could not be read are read again.
	jwksAgain = time.Second
)

// jwks is the keys by which anybody can verify the tokens that the cluster gives out.
// Anybody may ask, so the answer is kept, and while it is read all who ask wait for
// that one reading, no longer than they want to.
type jwks struct {
	read func(context.Context) ([]byte, error)
	now  func() time.Time
	log  *slog.Logger

	// turn is held by who reads; it guards the rest.
	turn chan struct{}
	text []byte
	err  error
	next time.Time // when to read again
}

func newJWKS(records *catalog.Catalog, now func() time.Time, log *slog.Logger) *jwks {
	return &jwks{
		read: func(ctx context.Context) ([]byte, error) { return tellKeys(ctx, records) },
		now:  now, log: log, turn: make(chan struct{}, 1),
	}
}

// ServeHTTP implements http.Handler.
func (j *jwks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "takes GET", http.StatusMethodNotAllowed)
		return
	}
	text, err := j.current(r.Context())
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			j.log.Warn("the keys of tokens cannot be told", "err", err)
		}
		http.Error(w, "the keys cannot be read now: try again", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=60")
	_, _ = w.Write(text)
}

// current is the answer. Keys that cannot be read anew are told as they were.
func (j *jwks) current(ctx context.Context) ([]byte, error) {
	select {
	case j.turn <- struct{}{}:
		defer func() { <-j.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if j.now().Before(j.next) {
		return j.text, j.err
	}
	// The answer is for all who wait, so it is read also if this one has gone away.
	reading, cancel := context.WithTimeout(context.WithoutCancel(ctx), jwksTimeout)
	defer cancel()
	text, err := j.read(reading)
	if err == nil {
		j.text, j.err, j.next = text, nil, j.now().Add(signingKeyKept)
		return text, nil
	}
	j.next = j.now().Add(jwksAgain)
	if j.text == nil {
		j.err = err
	}
	return j.text, j.err
}

// tellKeys reads the keys.
func tellKeys(ctx context.Context, records *catalog.Catalog) ([]byte, error) {
	if _, err := records.SigningKey(ctx); err != nil { // so that the next one to sign is in it
		return nil, err
	}
	list, err := records.TokenKeys(ctx)
	if err != nil {
		return nil, err
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}} // of which none is [], not null
	for _, k := range list {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public(), KeyID: k.ID, Use: "sig", Algorithm: string(jose.EdDSA)})
	}
	return json.Marshal(set)
}
