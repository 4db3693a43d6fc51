package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

type kvPutOptions struct {
	client clientOptions
	output outputFlag
	write  flotilla.PutOptions
	key    string
	value  []byte
}

func newKVPutCommand(env *Env) *cobra.Command {
	opts := &kvPutOptions{}
	cmd := &cobra.Command{
		Use:   "put KEY [VALUE]",
		Short: "Write a key",
		Long:  "Writes a key. Without VALUE, or with \"-\", the value is read from the input.",
		Example: `  $ flotilla kv put greeting hello
  $ flotilla kv put config/app - < app.yaml
  $ flotilla kv put leader me --if-absent
  $ flotilla kv put workers/7 10.0.0.7:80 --lease 5577006791947779410`,
		Args: args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.key = args[0]
			if len(args) == 2 && args[1] != "-" {
				opts.value = []byte(args[1])
				return runKVPut(cmd.Context(), env, opts)
			}
			value, err := io.ReadAll(env.In)
			if err != nil {
				return fmt.Errorf("read the value from the input: %w", err)
			}
			opts.value = value
			return runKVPut(cmd.Context(), env, opts)
		},
	}
	f := cmd.Flags()
	opts.client.bind(f)
	opts.output.bind(f)
	f.Uint64Var(&opts.write.IfRevision, "if-revision", 0, "write only if the key's mod revision is this")
	f.BoolVar(&opts.write.IfExists, "if-exists", false, "write only if the key exists")
	f.BoolVar(&opts.write.IfAbsent, "if-absent", false, "write only if the key does not exist")
	f.Int64Var(&opts.write.Lease, "lease", 0, "attach the key to this lease; 0 is none")
	f.BoolVar(&opts.write.KeepLease, "keep-lease", false, "leave the key's lease as it is")
	f.BoolVar(&opts.write.PrevKV, "prev-kv", false, "print the value that is replaced (with -o json)")
	cmd.MarkFlagsMutuallyExclusive("if-revision", "if-exists", "if-absent")
	cmd.MarkFlagsMutuallyExclusive("lease", "keep-lease")
	return cmd
}

func runKVPut(ctx context.Context, env *Env, opts *kvPutOptions) error {
	client, err := opts.client.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	result, err := client.Namespace(opts.client.namespace).KV.Put(ctx, opts.key, opts.value, &opts.write)
	if err != nil {
		return err
	}
	if opts.output.json() {
		return printJSON(env.Out, struct {
			Revision string   `json:"revision"`
			PrevKV   *keyJSON `json:"prev_kv,omitempty"`
		}{formatUint(result.Revision), keyToJSON(result.PrevKV)})
	}
	_, err = fmt.Fprintf(env.Out, "revision %d\n", result.Revision)
	return err
}
