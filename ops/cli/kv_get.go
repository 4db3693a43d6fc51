package cli

import (
	"context"

	"github.com/spf13/cobra"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

type kvGetOptions struct {
	client clientOptions
	output outputFlag
	read   flotilla.GetOptions
	key    string
}

func newKVGetCommand(env *Env) *cobra.Command {
	opts := &kvGetOptions{}
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "Print a key's value",
		Long:  "Prints the value as it is, and a line end after it on a terminal.",
		Example: `  $ flotilla kv get greeting
  $ flotilla kv get greeting --revision 7 -o json`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.key = args[0]
			return runKVGet(cmd.Context(), env, opts)
		},
	}
	opts.client.bind(cmd.Flags())
	opts.output.bind(cmd.Flags())
	cmd.Flags().Uint64Var(&opts.read.Revision, "revision", 0, "revision to read at; 0 is the newest")
	cmd.Flags().BoolVar(&opts.read.Serializable, "serializable", false, "read a replica that may lag")
	return cmd
}

func runKVGet(ctx context.Context, env *Env, opts *kvGetOptions) error {
	client, err := opts.client.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	kv, err := client.Namespace(opts.client.namespace).KV.Get(ctx, opts.key, &opts.read)
	if err != nil {
		return err
	}
	if opts.output.json() {
		return printJSON(env.Out, keyToJSON(kv))
	}
	value := kv.Value
	if env.Terminal {
		value = append(value, '\n')
	}
	_, err = env.Out.Write(value)
	return err
}
