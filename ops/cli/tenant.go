package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1/adminv1connect"
)

func newTenantCommand(env *Env) *cobra.Command {
	return group("tenant", "Create, limit, suspend and delete tenants, as an operator",
		newTenantCreateCommand(env), newTenantListCommand(env), newTenantGetCommand(env), newTenantSetLimitsCommand(env),
		newTenantSuspendCommand(env), newTenantResumeCommand(env), newTenantDeleteCommand(env), newTenantUsageCommand(env))
}

func newTenantCreateCommand(env *Env) *cobra.Command {
	opts := &adminOptions{}
	tenant := &adminv1.NewTenant{}
	limits := &limitFlags{}
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a tenant with a namespace and an API key, and print the key once",
		Example: `  $ flotilla tenant create acme --plan free
  $ flotilla tenant create acme --limit requests_per_second=500 --weight 4`,
		Args: args(cobra.ExactArgs(1)),
	}
	f := cmd.Flags()
	f.StringVar(&tenant.Plan, "plan", "", "free, standard or unlimited (default standard)")
	f.StringVar(&tenant.Description, "description", "", "what operators call it")
	f.Uint32Var(&tenant.Weight, "weight", 0, "share of a busy shard, as a multiple of others': 1 to 100 (default 1)")
	f.BoolVar(&tenant.WithoutNamespace, "without-namespace", false, `leave out the namespace "default"`)
	f.BoolVar(&tenant.WithoutKey, "without-key", false, "leave out the first API key")
	limits.bind(f)
	return adminCommand(env, opts, cmd, func(ctx context.Context, client adminv1connect.AdminServiceClient, args []string) error {
		var err error
		tenant.Name = args[0]
		if tenant.Limits, err = limits.parse(); err != nil {
			return err
		}
		response, err := client.CreateTenants(ctx, &adminv1.CreateTenantsRequest{Tenants: []*adminv1.NewTenant{tenant}})
		if err != nil {
			return err
		}
		made := response.GetResults()[0]
		if made.GetError() != nil {
			return answeredError(made.GetError())
		}
		if opts.output.json() {
			return printProto(env.Out, made)
		}
		if made.GetSecret() != "" {
			fmt.Fprintln(env.Err, "This is the only time that the key is shown:")
			_, err = fmt.Fprintln(env.Out, made.GetSecret())
			return err
		}
		_, err = fmt.Fprintf(env.Out, "%s is created\n", made.GetTenant().GetName())
		return err
	})
}

func newTenantListCommand(env *Env) *cobra.Command {
	opts := &adminOptions{}
	cmd := &cobra.Command{Use: "list", Short: "List the tenants"}
	return adminCommand(env, opts, cmd, func(ctx context.Context, client adminv1connect.AdminServiceClient, _ []string) error {
		var list []*adminv1.Tenant
		for req := (&adminv1.ListTenantsRequest{}); ; {
			page, err := client.ListTenants(ctx, req)
			if err != nil {
				return err
			}
			list = append(list, page.GetTenants()...)
			if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
		if opts.output.json() {
			return printProtos(env.Out, list)
		}
		rows := make([][]string, len(list))
		for i, t := range list {
			rows[i] = []string{
				t.GetName(), tenantState(t), t.GetPlan(), strconv.FormatUint(t.GetNamespaces(), 10), strconv.FormatUint(t.GetApiKeys(), 10),
				timeText(t.GetCreateTime()), printable([]byte(t.GetDescription())),
			}
		}
		return printTable(env.Out, []string{"NAME", "STATE", "PLAN", "NAMESPACES", "KEYS", "CREATED", "DESCRIPTION"}, rows)
	})
}

func tenantState(t *adminv1.Tenant) string {
	state := strings.ToLower(strings.TrimPrefix(t.GetState().String(), "TENANT_STATE_"))
	if t.GetPurgeTime() != nil {
		state += " until " + timeText(t.GetPurgeTime())
	}
	return state
}

func newTenantGetCommand(env *Env) *cobra.Command {
	opts := &adminOptions{}
	cmd := &cobra.Command{Use: "get NAME", Short: "Show a tenant and its limits", Args: args(cobra.ExactArgs(1))}
	return adminCommand(env, opts, cmd, func(ctx context.Context, client adminv1connect.AdminServiceClient, args []string) error {
		response, err := client.GetTenant(ctx, &adminv1.GetTenantRequest{Tenant: args[0]})
		if err != nil {
			return err
		}
		return printTenant(env, opts, response.GetTenant())
	})
}

// printTenant prints a tenant, its limits a line each; * marks those of its own.
func printTenant(env *Env, opts *adminOptions, t *adminv1.Tenant) error {
	if opts.output.json() {
		return printProto(env.Out, t)
	}
	rows := [][]string{
		{"name", t.GetName()},
		{"description", printable([]byte(t.GetDescription()))},
		{"state", tenantState(t)},
		{"created", timeText(t.GetCreateTime())},
		{"plan", t.GetPlan()},
		{"weight", strconv.FormatUint(uint64(t.GetWeight()), 10)},
		{"namespaces", strconv.FormatUint(t.GetNamespaces(), 10)},
		{"API keys", strconv.FormatUint(t.GetApiKeys(), 10)},
	}
	limits, own := t.GetLimits().ProtoReflect(), t.GetOwnLimits().ProtoReflect()
	for i := range limits.Descriptor().Fields().Len() {
		field := limits.Descriptor().Fields().Get(i)
		if field.Name() == "messages_max" {
			continue // of queues, which do not exist yet
		}
		value := "no limit"
		if limit := limits.Get(field).Uint(); limit != 0 {
			value = strconv.FormatUint(limit, 10)
		}
		if own.Has(field) {
			value += " *"
		}
		rows = append(rows, []string{string(field.Name()), value})
	}
	return printTable(env.Out, []string{"WHAT", "VALUE"}, rows)
}

func newTenantSetLimitsCommand(env *Env) *cobra.Command {
	opts := &adminOptions{}
	limits := &limitFlags{}
	var plan string
	var weight uint32
	var clear bool
	cmd := &cobra.Command{
		Use:   "set-limits NAME",
		Short: "Set a tenant's plan, its own limits and its weight",
		Long: `Sets what is given; the rest stays. Limits of its own take the place of the
plan's, and 0 gives the plan's back. They hold within two seconds. A limit below
what is stored already keeps the tenant from storing more; nothing is lost.`,
		Example: `  $ flotilla tenant set-limits acme --plan standard
  $ flotilla tenant set-limits acme --limit stored_bytes_max=1073741824 --limit keys_max=0`,
		Args: args(cobra.ExactArgs(1)),
	}
	f := cmd.Flags()
	f.StringVar(&plan, "plan", "", "free, standard or unlimited")
	f.Uint32Var(&weight, "weight", 0, "share of a busy shard, as a multiple of others': 1 to 100")
	f.BoolVar(&clear, "clear", false, "take all limits of its own away first")
	limits.bind(f)
	return adminCommand(env, opts, cmd, func(ctx context.Context, client adminv1connect.AdminServiceClient, args []string) error {
		req := &adminv1.SetTenantLimitsRequest{Tenant: args[0]}
		if cmd.Flags().Changed("plan") {
			req.Plan = new(plan)
		}
		if cmd.Flags().Changed("weight") {
			req.Weight = new(weight)
		}
		given, err := limits.parse()
		if err != nil {
			return err
		}
		if given != nil || clear {
			if req.Limits, err = limits.over(ctx, client, args[0], clear); err != nil {
				return err
			}
		}
		if req.Plan == nil && req.Weight == nil && req.GetLimits() == nil {
			return usageError{errors.New("nothing to set: give --plan, --limit, --weight or --clear")}
		}
		response, err := client.SetTenantLimits(ctx, req)
		if err != nil {
			return err
		}
		return printTenant(env, opts, response.GetTenant())
	})
}

func newTenantSuspendCommand(env *Env) *cobra.Command {
	return tenantAct(env, "suspend NAME", "Refuse a tenant's credentials; its data stays", "is suspended",
		func(ctx context.Context, client adminv1connect.AdminServiceClient, name string) (*adminv1.Tenant, error) {
			response, err := client.SuspendTenant(ctx, &adminv1.SuspendTenantRequest{Tenant: name})
			return response.GetTenant(), err
		})
}

func newTenantResumeCommand(env *Env) *cobra.Command {
	return tenantAct(env, "resume NAME", "Let a tenant in again that is suspended or being deleted", "is resumed",
		func(ctx context.Context, client adminv1connect.AdminServiceClient, name string) (*adminv1.Tenant, error) {
			response, err := client.ResumeTenant(ctx, &adminv1.ResumeTenantRequest{Tenant: name})
			return response.GetTenant(), err
		})
}

func newTenantDeleteCommand(env *Env) *cobra.Command {
	var grace time.Duration
	cmd := tenantAct(env, "delete NAME", "Delete a tenant: its data is removed after a grace period", "is deleted",
		func(ctx context.Context, client adminv1connect.AdminServiceClient, name string) (*adminv1.Tenant, error) {
			response, err := client.DeleteTenant(ctx, &adminv1.DeleteTenantRequest{Tenant: name, Grace: durationpb.New(grace)})
			return response.GetTenant(), err
		})
	cmd.Flags().DurationVar(&grace, "grace", 7*24*time.Hour, "for how long it can be resumed, up to 90 days; 0 is not at all")
	return cmd
}

// tenantAct makes a command that does one thing to one tenant.
func tenantAct(env *Env, use, short, done string, do func(context.Context, adminv1connect.AdminServiceClient, string) (*adminv1.Tenant, error)) *cobra.Command {
	opts := &adminOptions{}
	cmd := &cobra.Command{Use: use, Short: short, Args: args(cobra.ExactArgs(1))}
	return adminCommand(env, opts, cmd, func(ctx context.Context, client adminv1connect.AdminServiceClient, args []string) error {
		tenant, err := do(ctx, client, args[0])
		if err != nil {
			return err
		}
		if opts.output.json() {
			return printProto(env.Out, tenant)
		}
		if tenant.GetPurgeTime() != nil { // until when it can be resumed, which only the state tells
			done += ": " + tenantState(tenant)
		}
		_, err = fmt.Fprintf(env.Out, "%s %s\n", tenant.GetName(), done)
		return err
	})
}
