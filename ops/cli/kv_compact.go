package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
)

type kvCompactOptions struct {
	client   clientOptions
	revision uint64
}

func newKVCompactCommand(env *Env) *cobra.Command {
	opts := &kvCompactOptions{}
	cmd := &cobra.Command{
		Use:     "compact REVISION",
		Short:   "Drop the revisions older than one",
		Example: "  $ flotilla kv compact 1200",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			revision, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return usageError{fmt.Errorf("%q is not a revision", args[0])}
			}
			opts.revision = revision
			return runKVCompact(cmd.Context(), env, opts)
		},
	}
	opts.client.bind(cmd.Flags())
	return cmd
}

func runKVCompact(ctx context.Context, env *Env, opts *kvCompactOptions) error {
	client, err := opts.client.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Namespace(opts.client.namespace).KV.Compact(ctx, opts.revision); err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Out, "compacted: revisions before %d cannot be read any more\n", opts.revision)
	return err
}
