// Command flotilla is Flotilla: the node, and the tool that talks to one.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/flotillakv/flotilla/ops/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, cli.System(), os.Args[1:])
	stop()
	os.Exit(code)
}
