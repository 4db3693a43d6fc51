package placement

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/flotillakv/flotilla/placement/catalog"
)

// A node's sign of life outlives three renewals that fail.
const (
	liveTTL      = 10 * time.Second
	liveEvery    = 3 * time.Second
	liveTimeout  = 3 * time.Second
	liveRetry    = 500 * time.Millisecond
	liveEndAfter = time.Second
)

// Signs keeps signs of life; it is the catalog.
type Signs interface {
	GrantLiveLease(ctx context.Context, ttl time.Duration) (lease int64, err error)
	KeepLive(ctx context.Context, lease int64) (kept bool, err error)
	ShowLive(ctx context.Context, node, boot string, lease int64) error
	EndLive(ctx context.Context, lease int64) error
}

// Self is who a node is.
type Self struct {
	// ClusterID is the cluster that it belongs to.
	ClusterID string
	// NodeID is its id.
	NodeID string
	// BootID is its process.
	BootID string
}

// Life keeps the node's sign of life, once the node has joined: until then the
// record of the node names its process before, if there is one at all.
type Life struct {
	signs   Signs
	self    Self
	onClone func(error)
	log     *slog.Logger
}

// NewLife makes a life. onClone is called, once, when another process has joined
// with the node's identity: this one must stop.
func NewLife(signs Signs, self Self, onClone func(error), log *slog.Logger) *Life {
	return &Life{signs: signs, self: self, onClone: onClone, log: log}
}

// Run shows and renews the sign of life until ctx ends, and takes it back then, so
// that the others know at once.
func (l *Life) Run(ctx context.Context) error {
	var lease int64 // 0 while there is none
	joined, failing := false, false
	for ctx.Err() == nil {
		var err error
		lease, err = l.renew(ctx, lease)
		joined = joined || err == nil
		if joined && errors.As(err, new(*catalog.ClonedError)) {
			l.onClone(err)
			return nil
		}
		switch failed := err != nil && ctx.Err() == nil; {
		case failed && !failing:
			l.log.Warn("sign of life cannot be renewed", "err", err)
			failing = true
		case !failed && failing:
			l.log.Info("sign of life is renewed again")
			failing = false
		}
		wait := liveEvery
		if err != nil {
			wait = liveRetry
		}
		// Not all nodes are to come at once.
		pause(ctx, wait-wait/4+rand.N(wait/4)) //nolint:gosec // chance, not secrecy
	}
	if lease == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), liveEndAfter)
	defer cancel()
	if err := l.signs.EndLive(ctx, lease); err != nil {
		l.log.Info("sign of life is left to its end", "err", err)
	}
	return nil
}

// renew makes the sign last for its whole time again, and returns the lease that
// keeps it.
func (l *Life) renew(ctx context.Context, lease int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	if lease != 0 {
		kept, err := l.signs.KeepLive(ctx, lease)
		if err != nil {
			return lease, err
		}
		if !kept {
			lease = 0
		}
	}
	if lease == 0 {
		granted, err := l.signs.GrantLiveLease(ctx, liveTTL)
		if err != nil {
			return 0, err
		}
		lease = granted
	}
	return lease, l.signs.ShowLive(ctx, l.self.NodeID, l.self.BootID, lease)
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
