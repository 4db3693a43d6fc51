// Command bench measures Flotilla beside etcd: both as processes of their own
// on this machine, under the same load from this process, in alternating short
// slices, so that whatever else the machine does hits both. README.md says what
// is measured and what the figures do not say.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The second Ctrl-C ends this process at once, and the kernel its servers.
	context.AfterFunc(ctx, stop)
	var err error
	if len(os.Args) == 2 && os.Args[1] == loudCommand {
		err = runLoud(ctx, os.Stdin, os.Stdout)
	} else {
		err = run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is the whole program. The servers that it starts have ended and their
// data is gone when it returns.
func run(ctx context.Context, args []string, out, progress io.Writer) (err error) {
	opts, err := parseOptions(args, progress)
	if err != nil {
		return err
	}
	// Not a deadline: clients behave differently under a context that has one.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer time.AfterFunc(opts.timeout, func() {
		cancel(fmt.Errorf("not done within -timeout %s", opts.timeout))
	}).Stop()
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}()

	b, err := newBench(opts, out, progress)
	if err != nil {
		return err
	}
	defer b.cleanUp()
	if err := b.build(ctx); err != nil {
		return err
	}
	if len(opts.workloads) > 0 || opts.restart || opts.watches > 0 || opts.idleWatches > 0 {
		if err := b.compare(ctx); err != nil {
			return err
		}
	}
	if opts.namespaces > 0 {
		if err := b.measureNamespaces(ctx); err != nil {
			return err
		}
	}
	if opts.tenants > 0 {
		if err := b.measureTenants(ctx); err != nil {
			return err
		}
	}
	if opts.neighbours > 0 {
		if err := b.measureNeighbours(ctx); err != nil {
			return err
		}
	}
	if b.opts.leases > 0 {
		if err := b.measureLeases(ctx); err != nil {
			return err
		}
	}
	return b.report.writeJSON(opts.jsonFile)
}
