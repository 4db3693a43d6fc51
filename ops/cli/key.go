package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func newKeyCommand(env *Env) *cobra.Command {
	return group("key", "Create, list and revoke the tenant's API keys",
		newKeyCreateCommand(env), newKeyListCommand(env), newKeyRevokeCommand(env))
}

type keyOptions struct {
	client      clientOptions
	output      outputFlag
	description string
	id          string
}

func newKeyCreateCommand(env *Env) *cobra.Command {
	opts := &keyOptions{}
	cmd := &cobra.Command{
		Use:     "create",
		Short:   "Create an API key, and print it once",
		Example: "  $ flotilla key create --description 'billing service'",
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runKeyCreate(cmd.Context(), env, opts) },
	}
	opts.client.bind(cmd.Flags())
	cmd.Flags().StringVar(&opts.description, "description", "", "what the key is for")
	return cmd
}

func runKeyCreate(ctx context.Context, env *Env, opts *keyOptions) error {
	client, err := opts.client.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	_, secret, err := client.CreateAPIKey(ctx, opts.description)
	if err != nil {
		return err
	}
	fmt.Fprintln(env.Err, "This is the only time that the key is shown:")
	_, err = fmt.Fprintln(env.Out, secret)
	return err
}

func newKeyListCommand(env *Env) *cobra.Command {
	opts := &keyOptions{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tenant's API keys",
		Args:  args(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runKeyList(cmd.Context(), env, opts) },
	}
	opts.client.bind(cmd.Flags())
	opts.output.bind(cmd.Flags())
	return cmd
}

func runKeyList(ctx context.Context, env *Env, opts *keyOptions) error {
	client, err := opts.client.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	list, err := client.APIKeys(ctx)
	if err != nil {
		return err
	}
	if opts.output.json() {
		type row struct {
			ID          string    `json:"id"`
			Description string    `json:"description,omitempty"`
			CreateTime  time.Time `json:"create_time"`
		}
		rows := make([]row, len(list))
		for i, key := range list {
			rows[i] = row{key.ID, key.Description, key.CreateTime}
		}
		return printJSON(env.Out, rows)
	}
	rows := make([][]string, len(list))
	for i, key := range list {
		rows[i] = []string{key.ID, key.CreateTime.Local().Format(time.DateTime), printable([]byte(key.Description))}
	}
	return printTable(env.Out, []string{"ID", "CREATED", "DESCRIPTION"}, rows)
}

func newKeyRevokeCommand(env *Env) *cobra.Command {
	opts := &keyOptions{}
	cmd := &cobra.Command{
		Use:   "revoke ID",
		Short: "End an API key at once",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.id = args[0]
			return runKeyRevoke(cmd.Context(), env, opts)
		},
	}
	opts.client.bind(cmd.Flags())
	return cmd
}

func runKeyRevoke(ctx context.Context, env *Env, opts *keyOptions) error {
	client, err := opts.client.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.RevokeAPIKey(ctx, opts.id); err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Out, "%s is revoked\n", opts.id)
	return err
}
