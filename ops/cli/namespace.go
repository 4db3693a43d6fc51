package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

func newNamespaceCommand(env *Env) *cobra.Command {
	return group("namespace", "Create and list the tenant's namespaces",
		newNamespaceCreateCommand(env), newNamespaceListCommand(env))
}

type namespaceOptions struct {
	client clientOptions
	output outputFlag
	names  []string
}

func newNamespaceCreateCommand(env *Env) *cobra.Command {
	opts := &namespaceOptions{}
	cmd := &cobra.Command{
		Use:     "create NAME...",
		Short:   "Create namespaces, all or none",
		Example: "  $ flotilla namespace create staging production",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.names = args
			return runNamespaceCreate(cmd.Context(), env, opts)
		},
	}
	opts.client.bind(cmd.Flags())
	return cmd
}

func runNamespaceCreate(ctx context.Context, env *Env, opts *namespaceOptions) error {
	client, err := opts.client.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.CreateNamespaces(ctx, opts.names...); err != nil {
		return err
	}
	for _, name := range opts.names {
		fmt.Fprintln(env.Out, name)
	}
	return nil
}

func newNamespaceListCommand(env *Env) *cobra.Command {
	opts := &namespaceOptions{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tenant's namespaces",
		Args:  args(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runNamespaceList(cmd.Context(), env, opts) },
	}
	opts.client.bind(cmd.Flags())
	opts.output.bind(cmd.Flags())
	return cmd
}

func runNamespaceList(ctx context.Context, env *Env, opts *namespaceOptions) error {
	client, err := opts.client.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	list := []flotilla.NamespaceInfo{}
	for ns, err := range client.Namespaces(ctx) {
		if err != nil {
			return err
		}
		list = append(list, ns)
	}
	if opts.output.json() {
		type row struct {
			Name       string    `json:"name"`
			CreateTime time.Time `json:"create_time"`
		}
		rows := make([]row, len(list))
		for i, ns := range list {
			rows[i] = row{ns.Name, ns.CreateTime}
		}
		return printJSON(env.Out, rows)
	}
	rows := make([][]string, len(list))
	for i, ns := range list {
		rows[i] = []string{ns.Name, ns.CreateTime.Local().Format(time.DateTime)}
	}
	return printTable(env.Out, []string{"NAME", "CREATED"}, rows)
}
