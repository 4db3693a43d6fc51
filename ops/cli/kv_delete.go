package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

type kvDeleteOptions struct {
	client clientOptions
	output outputFlag
	write  flotilla.DeleteOptions
	prefix string
	yes    bool
	key    string
}

func newKVDeleteCommand(env *Env) *cobra.Command {
	opts := &kvDeleteOptions{}
	cmd := &cobra.Command{
		Use:   "delete KEY | --prefix PREFIX --yes",
		Short: "Remove a key, or all keys with a prefix",
		Example: `  $ flotilla kv delete greeting
  $ flotilla kv delete --prefix tmp/ --yes`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			byPrefix := cmd.Flags().Changed("prefix")
			if (len(args) == 1) == byPrefix {
				return usageError{errors.New("name either a key or --prefix")}
			}
			if len(args) == 1 {
				opts.key = args[0]
			}
			return runKVDelete(cmd.Context(), env, opts, byPrefix)
		},
	}
	f := cmd.Flags()
	opts.client.bind(f)
	opts.output.bind(f)
	f.StringVar(&opts.prefix, "prefix", "", "remove all keys that begin with this")
	f.BoolVar(&opts.yes, "yes", false, "really remove all keys with the prefix, instead of counting them")
	f.Uint64Var(&opts.write.IfRevision, "if-revision", 0, "remove the key only if its mod revision is this")
	return cmd
}

func runKVDelete(ctx context.Context, env *Env, opts *kvDeleteOptions, byPrefix bool) error {
	client, err := opts.client.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	kv := client.Namespace(opts.client.namespace).KV
	var result *flotilla.DeleteResult
	switch {
	case !byPrefix:
		result, err = kv.Delete(ctx, opts.key, &opts.write)
	case !opts.yes:
		var count uint64
		if count, err = kv.Count(ctx, flotilla.Prefix(opts.prefix), nil); err == nil {
			_, err = fmt.Fprintf(env.Err, "%d keys begin with %q. Nothing was removed: run it again with --yes.\n", count, opts.prefix)
		}
		return err
	default:
		result, err = kv.DeleteRange(ctx, flotilla.Prefix(opts.prefix), &opts.write)
	}
	if err != nil {
		return err
	}
	if opts.output.json() {
		return printJSON(env.Out, struct {
			Revision string `json:"revision"`
			Deleted  string `json:"deleted"`
		}{formatUint(result.Revision), formatUint(result.Deleted)})
	}
	_, err = fmt.Fprintf(env.Out, "%d removed, revision %d\n", result.Deleted, result.Revision)
	return err
}
