package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"

	"github.com/flotillakv/flotilla/ops/node"
)

// runDevCluster runs several nodes in this process, as others would run them in
// one process each. The first one's ports are those of the flags; the others take
// free ones.
func runDevCluster(ctx context.Context, env *Env, cfg node.Config, count int) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cfg.Log = slog.New(untilStop{cfg.Log.Handler(), ctx.Done()})
	configs, err := devConfigs(ctx, cfg, count)
	if err != nil {
		return err
	}
	nodes := make([]*node.Node, count)
	errs := make([]error, count)
	var starting, running sync.WaitGroup
	starting.Add(count)
	for i := range configs {
		running.Go(func() {
			started := sync.OnceFunc(starting.Done)
			defer started()
			errs[i] = node.Run(ctx, configs[i], func(ctx context.Context, n *node.Node) error {
				nodes[i] = n
				started()
				return nil
			})
			if errs[i] != nil {
				stop() // one that fails ends them all
			}
		})
	}
	starting.Wait()
	var ready error
	if ctx.Err() == nil {
		ready = devReady(ctx, env, cfg.DataDir, nodes...)
	}
	if ready != nil {
		stop()
	}
	running.Wait()
	return errors.Join(errors.Join(errs...), ready)
}

// untilStop lets errors alone through once the nodes stop: they do so together, and
// each would warn that it does not reach the others any more.
type untilStop struct {
	slog.Handler

	stops <-chan struct{}
}

// Enabled implements slog.Handler.
func (h untilStop) Enabled(ctx context.Context, level slog.Level) bool {
	select {
	case <-h.stops:
		return level >= slog.LevelError
	default:
		return h.Handler.Enabled(ctx, level)
	}
}

// WithAttrs implements slog.Handler.
func (h untilStop) WithAttrs(attrs []slog.Attr) slog.Handler {
	return untilStop{h.Handler.WithAttrs(attrs), h.stops}
}

// WithGroup implements slog.Handler.
func (h untilStop) WithGroup(name string) slog.Handler {
	return untilStop{h.Handler.WithGroup(name), h.stops}
}

// devConfigs are the configurations of the nodes. All know of each other's peer
// ports, which may be other ones than at an earlier start.
func devConfigs(ctx context.Context, cfg node.Config, count int) ([]node.Config, error) {
	ports, err := freePorts(ctx, 2*count)
	if err != nil {
		return nil, err
	}
	configs := make([]node.Config, count)
	for i := range configs {
		c := cfg
		c.Name = fmt.Sprintf("n%d", i+1)
		c.DataDir = filepath.Join(cfg.DataDir, c.Name)
		c.ListenPeer, c.ListenRaft = ports[2*i], ports[2*i+1]
		if i > 0 {
			c.Bootstrap = false
			c.ListenAPI, c.ListenOps, c.ListenEtcd, c.AdvertiseEtcd = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", ""
			c.Join = []string{ports[0]}
		}
		configs[i] = c
	}
	return configs, nil
}

// freePorts finds loopback addresses that nobody listens on.
func freePorts(ctx context.Context, count int) ([]string, error) {
	var addresses []string
	var lc net.ListenConfig
	for range count {
		listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer listener.Close() // all at the end, so that they differ
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}
