package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

type kvRangeOptions struct {
	client clientOptions
	output outputFlag
	keys   flotilla.KeyRange
	read   flotilla.RangeOptions
	count  bool
}

func newKVRangeCommand(env *Env) *cobra.Command {
	opts := &kvRangeOptions{}
	cmd := &cobra.Command{
		Use:   "range",
		Short: "List keys",
		Long:  "Lists keys in byte order, as of one revision. JSON is one key a line.",
		Example: `  $ flotilla kv range --prefix config/
  $ flotilla kv range --start a --end n --limit 10 --keys-only
  $ flotilla kv range --prefix config/ --count`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runKVRange(cmd.Context(), env, opts) },
	}
	f := cmd.Flags()
	opts.client.bind(f)
	opts.output.bind(f)
	f.StringVar(&opts.keys.Prefix, "prefix", "", "keys that begin with this")
	f.StringVar(&opts.keys.Start, "start", "", "keys from this one on")
	f.StringVar(&opts.keys.End, "end", "", "keys before this one")
	f.Uint64Var(&opts.read.Limit, "limit", 0, "at most this many; 0 is all")
	f.Uint64Var(&opts.read.Revision, "revision", 0, "revision to read at; 0 is the newest")
	f.BoolVar(&opts.read.Serializable, "serializable", false, "read a replica that may lag")
	f.BoolVar(&opts.read.Descending, "descending", false, "greatest first")
	f.BoolVar(&opts.read.KeysOnly, "keys-only", false, "leave the values out")
	f.BoolVar(&opts.count, "count", false, "print the number of keys alone")
	return cmd
}

func runKVRange(ctx context.Context, env *Env, opts *kvRangeOptions) error {
	client, err := opts.client.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	kv := client.Namespace(opts.client.namespace).KV
	if opts.count {
		n, err := kv.Count(ctx, opts.keys, &flotilla.GetOptions{Revision: opts.read.Revision, Serializable: opts.read.Serializable})
		if err == nil {
			_, err = fmt.Fprintln(env.Out, n)
		}
		return err
	}
	var rows [][]string
	for found, err := range kv.Range(ctx, opts.keys, &opts.read) {
		if err != nil {
			return err
		}
		if opts.output.json() {
			if err := printJSON(env.Out, keyToJSON(found)); err != nil {
				return err
			}
			continue
		}
		row := []string{printable([]byte(found.Key)), formatUint(found.ModRevision), formatUint(found.Version)}
		if !opts.read.KeysOnly {
			row = append(row, printable(found.Value))
		}
		rows = append(rows, row)
	}
	if opts.output.json() {
		return nil
	}
	header := []string{"KEY", "REVISION", "VERSION"}
	if !opts.read.KeysOnly {
		header = append(header, "VALUE")
	}
	if err := printTable(env.Out, header, rows); err != nil {
		return err
	}
	if opts.read.Limit > 0 && uint64(len(rows)) == opts.read.Limit {
		_, err := fmt.Fprintf(env.Err, "%d keys shown, as --limit says; there may be more\n", len(rows))
		return err
	}
	return nil
}
