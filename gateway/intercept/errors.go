package intercept

import (
	"context"
	"log/slog"
	"time"

	"github.com/flotillakv/flotilla/gateway/apierr"
)

// errorTable turns whatever a handler returns into an error of the API. What
// the table does not know is a fault of ours: it is logged here, and the
// caller is told no more than the id to report.
func errorTable(log *slog.Logger) layer {
	return func(ctx context.Context, c call, next func(context.Context) error) error {
		err := next(ctx)
		if err == nil {
			return nil
		}
		if apierr.IsInternal(err) {
			log.Error("request failed", "procedure", c.procedure, "request_id", RequestID(ctx), "err", err)
		}
		return apierr.ToConnect(err, RequestID(ctx))
	}
}

// recovering turns a panic of a handler into an error, so that one request
// cannot end the others.
func recovering() layer {
	return func(ctx context.Context, _ call, next func(context.Context) error) (err error) {
		defer Recovered(&err)
		return next(ctx)
	}
}

// deadline gives every unary RPC a deadline, no later than the latest. Streams
// live as long as their caller; their operations have deadlines of their own.
func deadline(standard, latest time.Duration) layer {
	return func(ctx context.Context, c call, next func(context.Context) error) error {
		if c.stream {
			return next(ctx)
		}
		timeout := standard
		if until, ok := ctx.Deadline(); ok {
			timeout = min(time.Until(until), latest)
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return next(ctx)
	}
}
