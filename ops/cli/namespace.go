package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

func newNamespaceCommand(env *Env) *cobra.Command {
	return group("namespace", "Create, list and delete a tenant's namespaces",
		newNamespaceCreateCommand(env), newNamespaceListCommand(env), newNamespaceDeleteCommand(env))
}

func newNamespaceCreateCommand(env *Env) *cobra.Command {
	opts := &tenantOptions{}
	cmd := &cobra.Command{
		Use:   "create NAME...",
		Short: "Create namespaces, all or none",
		Example: `  $ flotilla namespace create staging production
  $ flotilla namespace create staging --tenant acme        # as an operator`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			var made []*flotillav1.Namespace
			err := opts.run(cmd, env, func(ctx context.Context, as asTenant) error {
				response, err := as.tenant.CreateNamespaces(ctx, &flotillav1.CreateNamespacesRequest{Names: names})
				made = response.GetNamespaces()
				return err
			}, func(ctx context.Context, as asOperator) error {
				response, err := as.admin.CreateNamespaces(ctx, &adminv1.CreateNamespacesRequest{Tenant: opts.tenant, Names: names})
				made = response.GetNamespaces()
				return err
			})
			if err != nil {
				return err
			}
			if opts.output.json() {
				return printProtos(env.Out, made)
			}
			for _, ns := range made {
				fmt.Fprintln(env.Out, ns.GetName())
			}
			return nil
		},
	}
	opts.bind(cmd.Flags())
	return cmd
}

func newNamespaceListCommand(env *Env) *cobra.Command {
	opts := &tenantOptions{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List a tenant's namespaces",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []*flotillav1.Namespace
			err := opts.run(cmd, env, func(ctx context.Context, as asTenant) error {
				for req := (&flotillav1.ListNamespacesRequest{}); ; {
					page, err := as.tenant.ListNamespaces(ctx, req)
					if err != nil {
						return err
					}
					list = append(list, page.GetNamespaces()...)
					if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
						return nil
					}
				}
			}, func(ctx context.Context, as asOperator) error {
				for req := (&adminv1.ListNamespacesRequest{Tenant: opts.tenant}); ; {
					page, err := as.admin.ListNamespaces(ctx, req)
					if err != nil {
						return err
					}
					list = append(list, page.GetNamespaces()...)
					if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
						return nil
					}
				}
			})
			if err != nil {
				return err
			}
			if opts.output.json() {
				return printProtos(env.Out, list)
			}
			rows := make([][]string, len(list))
			for i, ns := range list {
				rows[i] = []string{ns.GetName(), timeText(ns.GetCreateTime())}
			}
			return printTable(env.Out, []string{"NAME", "CREATED"}, rows)
		},
	}
	opts.bind(cmd.Flags())
	return cmd
}

func newNamespaceDeleteCommand(env *Env) *cobra.Command {
	opts := &tenantOptions{}
	cmd := &cobra.Command{
		Use:   "delete NAME...",
		Short: "Delete namespaces with all that they hold, all or none",
		Long: `Deletes namespaces with all that they hold, at once and for good: there is no
grace period as there is for a tenant. Their space is freed little by little.`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			err := opts.run(cmd, env, func(ctx context.Context, as asTenant) error {
				_, err := as.tenant.DeleteNamespaces(ctx, &flotillav1.DeleteNamespacesRequest{Names: names})
				return err
			}, func(ctx context.Context, as asOperator) error {
				_, err := as.admin.DeleteNamespaces(ctx, &adminv1.DeleteNamespacesRequest{Tenant: opts.tenant, Names: names})
				return err
			})
			if err != nil {
				return err
			}
			for _, name := range names {
				fmt.Fprintf(env.Out, "%s is deleted\n", name)
			}
			return nil
		},
	}
	opts.bind(cmd.Flags())
	return cmd
}
