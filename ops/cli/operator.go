package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1/adminv1connect"
)

func newOperatorCommand(env *Env) *cobra.Command {
	return group("operator", "Create, list and delete the credentials of operators",
		newOperatorCreateCommand(env), newOperatorListCommand(env), newOperatorDeleteCommand(env))
}

func newOperatorCreateCommand(env *Env) *cobra.Command {
	opts := &adminOptions{}
	var role, description string
	var expires time.Duration
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create an operator's credential, and print it once",
		Long: `Creates the credential of an operator. A viewer sees tenants, limits, usage and
the audit log; an operator also creates, limits, suspends and resumes tenants, and
manages their API keys; an owner also deletes tenants, removes nodes and manages
operators.`,
		Example: "  $ flotilla operator create eve --role viewer --expires 720h",
		Args:    args(cobra.ExactArgs(1)),
	}
	f := cmd.Flags()
	f.StringVar(&role, "role", "viewer", "viewer, operator or owner")
	f.StringVar(&description, "description", "", "what it is for")
	f.DurationVar(&expires, "expires", 0, "after how long it ends; 0 is never")
	return adminCommand(env, opts, cmd, func(ctx context.Context, client adminv1connect.AdminServiceClient, args []string) error {
		number, ok := adminv1.OperatorRole_value["OPERATOR_ROLE_"+strings.ToUpper(role)]
		if !ok || number == 0 {
			return usageError{fmt.Errorf("--role is %q, and takes viewer, operator or owner", role)}
		}
		expire, err := expiry(expires)
		if err != nil {
			return err
		}
		operator := &adminv1.Operator{Name: args[0], Role: adminv1.OperatorRole(number), Description: description, ExpireTime: expire}
		made, err := client.CreateOperator(ctx, &adminv1.CreateOperatorRequest{Operator: operator})
		if err != nil {
			return err
		}
		return printSecret(env, opts.output, made, made.GetSecret())
	})
}

func newOperatorListCommand(env *Env) *cobra.Command {
	opts := &adminOptions{}
	cmd := &cobra.Command{Use: "list", Short: "List the operators"}
	return adminCommand(env, opts, cmd, func(ctx context.Context, client adminv1connect.AdminServiceClient, _ []string) error {
		response, err := client.ListOperators(ctx, &adminv1.ListOperatorsRequest{})
		if err != nil {
			return err
		}
		if opts.output.json() {
			return printProtos(env.Out, response.GetOperators())
		}
		var rows [][]string
		for _, o := range response.GetOperators() {
			rows = append(rows, []string{
				o.GetName(), strings.ToLower(strings.TrimPrefix(o.GetRole().String(), "OPERATOR_ROLE_")),
				timeText(o.GetCreateTime()), timeText(o.GetExpireTime()), printable([]byte(o.GetDescription())),
			})
		}
		return printTable(env.Out, []string{"NAME", "ROLE", "CREATED", "ENDS", "DESCRIPTION"}, rows)
	})
}

func newOperatorDeleteCommand(env *Env) *cobra.Command {
	opts := &adminOptions{}
	cmd := &cobra.Command{Use: "delete NAME", Short: "End an operator's credential within two seconds", Args: args(cobra.ExactArgs(1))}
	return adminCommand(env, opts, cmd, func(ctx context.Context, client adminv1connect.AdminServiceClient, args []string) error {
		if _, err := client.DeleteOperator(ctx, &adminv1.DeleteOperatorRequest{Name: args[0]}); err != nil {
			return err
		}
		_, err := fmt.Fprintf(env.Out, "%s is deleted\n", args[0])
		return err
	})
}
