package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

type kvWatchOptions struct {
	client clientOptions
	output outputFlag
	keys   flotilla.KeyRange
	watch  flotilla.WatchOptions
	count  uint64
}

func newKVWatchCommand(env *Env) *cobra.Command {
	opts := &kvWatchOptions{}
	cmd := &cobra.Command{
		Use:   "watch [KEY]",
		Short: "Print changes as they happen",
		Long: `Prints the changes of a key, or of a range of keys, one a line: revision, put or
delete, key and value. It goes on until it is ended, also when the node starts
again meanwhile.`,
		Example: `  $ flotilla kv watch greeting
  $ flotilla kv watch --prefix config/ --from 7 -o json
  $ flotilla kv watch --prefix jobs/ --count 1   # wait for the next change`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if opts.keys != (flotilla.KeyRange{}) {
					return usageError{errors.New("name a key, or give --prefix, --start or --end: not both")}
				}
				opts.keys = flotilla.OneKey(args[0])
			}
			return runKVWatch(cmd.Context(), env, opts)
		},
	}
	f := cmd.Flags()
	opts.client.bind(f)
	opts.output.bind(f)
	f.StringVar(&opts.keys.Prefix, "prefix", "", "keys that begin with this")
	f.StringVar(&opts.keys.Start, "start", "", "keys from this one on")
	f.StringVar(&opts.keys.End, "end", "", "keys before this one")
	f.Uint64Var(&opts.watch.From, "from", 0, "first revision to show; 0 is the next one")
	f.BoolVar(&opts.watch.PrevKV, "prev", false, "tell the value before, in JSON")
	f.BoolVar(&opts.watch.NoPut, "no-put", false, "leave out writes")
	f.BoolVar(&opts.watch.NoDelete, "no-delete", false, "leave out deletions")
	f.Uint64Var(&opts.count, "count", 0, "end after so many changes; 0 is never")
	return cmd
}

// eventJSON is a change as commands print it in JSON.
type eventJSON struct {
	Type   string   `json:"type"`
	KV     *keyJSON `json:"kv"`
	PrevKV *keyJSON `json:"prev_kv,omitempty"`
}

func runKVWatch(ctx context.Context, env *Env, opts *kvWatchOptions) error {
	client, err := opts.client.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	shown := uint64(0)
	for event, err := range client.Namespace(opts.client.namespace).KV.Watch(ctx, opts.keys, &opts.watch) {
		if ctx.Err() != nil {
			return nil // the person who ended it knows
		}
		if err != nil {
			return err
		}
		if err := printEvent(env, opts.output, event); err != nil {
			return err
		}
		if shown++; shown == opts.count {
			return nil
		}
	}
	return nil
}

func printEvent(env *Env, output outputFlag, event *flotilla.Event) error {
	kind := "put"
	if event.Deleted {
		kind = "delete"
	}
	if output.json() {
		return printJSON(env.Out, eventJSON{Type: kind, KV: keyToJSON(event.KV), PrevKV: keyToJSON(event.PrevKV)})
	}
	line := fmt.Sprintf("%d %s %s", event.KV.ModRevision, kind, printable([]byte(event.KV.Key)))
	if !event.Deleted {
		line += " " + printable(event.KV.Value)
	}
	_, err := fmt.Fprintln(env.Out, line)
	return err
}
