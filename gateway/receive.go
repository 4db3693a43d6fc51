package gateway

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/shards"
)

// stillValidEvery is how often a stream asks whether its caller's credential holds.
const stillValidEvery = time.Second

// receiveEach handles the messages of a stream one by one, until the caller
// closes its side, one cannot be handled, the caller's credential ends, the RPC
// does, or the node begins to stop.
func receiveEach[M any](
	ctx context.Context, receive func() (*M, error), auth *intercept.Authenticator, stopping <-chan struct{},
	handle func(*M) error,
) error {
	messages, failed := make(chan *M), make(chan error, 1)
	// It ends when the RPC does, which ends receive.
	go func() { failed <- passOn(ctx, receive, messages) }()
	ticker := time.NewTicker(stillValidEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C: // of a caller that sends nothing
			if err := auth.StillValid(ctx); err != nil {
				return err
			}
		case message := <-messages:
			if err := auth.StillValid(ctx); err != nil {
				return err
			}
			if err := handle(message); err != nil {
				return err
			}
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-stopping:
			return shards.ErrStopping
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// passOn hands messages over until one cannot be received.
func passOn[M any](ctx context.Context, receive func() (*M, error), received chan<- *M) (err error) {
	defer intercept.Recovered(&err)
	for {
		message, err := receive()
		if err != nil {
			return err
		}
		select {
		case received <- message:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
