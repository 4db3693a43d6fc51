package intercept

import (
	"log/slog"
	"time"

	"connectrpc.com/connect"
)

// Config is what the layers need. Zero durations take the defaults.
type Config struct {
	Authenticator *Authenticator
	Metrics       *Metrics
	Log           *slog.Logger
	// TimeoutDefault is the deadline of a unary RPC that brings none.
	// Default 10 s.
	TimeoutDefault time.Duration
}

// TimeoutMax is the latest deadline of a unary RPC.
const TimeoutMax = time.Minute

// Chain is the layers in their order.
func Chain(cfg Config) connect.Option {
	if cfg.TimeoutDefault == 0 {
		cfg.TimeoutDefault = 10 * time.Second
	}
	return connect.WithInterceptors(
		observe(cfg.Metrics, cfg.Log),
		errorTable(cfg.Log),
		recovering(),
		deadline(cfg.TimeoutDefault, TimeoutMax),
		authenticate(cfg.Authenticator),
	)
}
