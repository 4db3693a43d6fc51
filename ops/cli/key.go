package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

func newKeyCommand(env *Env) *cobra.Command {
	return group("key", "Create, list, rotate and revoke a tenant's API keys",
		newKeyCreateCommand(env), newKeyListCommand(env), newKeyRotateCommand(env), newKeyRevokeCommand(env))
}

// expiry is the time that --expires, a time from now on, says; absent if it is 0.
func expiry(after time.Duration) (*timestamppb.Timestamp, error) {
	switch {
	case after < 0:
		return nil, usageError{fmt.Errorf("--expires is %s, and takes a time from now on, such as 720h", after)}
	case after == 0:
		return nil, nil //nolint:nilnil // none
	}
	return timestamppb.New(time.Now().Add(after)), nil
}

// keySpecFlags say what a key shall be.
type keySpecFlags struct {
	description string
	expires     time.Duration
	allow       []string
}

func (k *keySpecFlags) bind(f *pflag.FlagSet) {
	f.StringVar(&k.description, "description", "", "what the key is for")
	f.DurationVar(&k.expires, "expires", 0, "after how long it ends; 0 is never")
	f.StringArrayVar(&k.allow, "allow", nil, "what it allows, as `ACTIONS[:NAMESPACE[:PREFIX]]`, such as read,watch:default:config/; can be given more often (default: everything). Actions are "+actionNames()+"; lock, queue-send and queue-receive are not used yet")
}

// actionNames are the actions that --allow takes.
func actionNames() string { return strings.ReplaceAll(tenancy.AllActions.String(), "|", ", ") }

func (k *keySpecFlags) request() (*flotillav1.CreateAPIKeyRequest, error) {
	expire, err := expiry(k.expires)
	if err != nil {
		return nil, err
	}
	req := &flotillav1.CreateAPIKeyRequest{Description: k.description, ExpireTime: expire}
	var permissions tenancy.Permissions
	for _, text := range k.allow {
		actions, rest, _ := strings.Cut(text, ":")
		namespace, prefix, _ := strings.Cut(rest, ":")
		permission := tenancy.Permission{Namespace: namespace, Prefix: []byte(prefix)}
		for name := range strings.SplitSeq(actions, ",") {
			action, ok := tenancy.ParseAction(name)
			if !ok {
				return nil, usageError{fmt.Errorf("--allow: there is no action %q: it takes %s", name, actionNames())}
			}
			permission.Actions |= action
		}
		permissions = append(permissions, permission)
	}
	req.Permissions = permissions.Proto()
	return req, nil
}

func newKeyCreateCommand(env *Env) *cobra.Command {
	opts, spec := &tenantOptions{}, &keySpecFlags{}
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create an API key, and print it once",
		Example: `  $ flotilla key create --description 'billing service'
  $ flotilla key create --allow read,watch:default:config/ --expires 720h
  $ flotilla key create --tenant acme        # as an operator`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			req, err := spec.request()
			if err != nil {
				return err
			}
			var made *flotillav1.CreateAPIKeyResponse
			err = opts.run(cmd, env, func(ctx context.Context, as asTenant) error {
				made, err = as.tenant.CreateAPIKey(ctx, req)
				return err
			}, func(ctx context.Context, as asOperator) error {
				response, err := as.admin.CreateAPIKey(ctx, &adminv1.CreateAPIKeyRequest{Tenant: opts.tenant, Key: req})
				made = &flotillav1.CreateAPIKeyResponse{ApiKey: response.GetApiKey(), Secret: response.GetSecret()}
				return err
			})
			if err != nil {
				return err
			}
			return printSecret(env, opts.output, made, made.GetSecret())
		},
	}
	opts.bind(cmd.Flags())
	spec.bind(cmd.Flags())
	return cmd
}

func newKeyListCommand(env *Env) *cobra.Command {
	opts := &tenantOptions{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List a tenant's API keys",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []*flotillav1.APIKey
			err := opts.run(cmd, env, func(ctx context.Context, as asTenant) error {
				response, err := as.tenant.ListAPIKeys(ctx, &flotillav1.ListAPIKeysRequest{})
				list = response.GetApiKeys()
				return err
			}, func(ctx context.Context, as asOperator) error {
				response, err := as.admin.ListAPIKeys(ctx, &adminv1.ListAPIKeysRequest{Tenant: opts.tenant})
				list = response.GetApiKeys()
				return err
			})
			if err != nil {
				return err
			}
			return printKeys(env, opts.output, list)
		},
	}
	opts.bind(cmd.Flags())
	return cmd
}

func printKeys(env *Env, output outputFlag, list []*flotillav1.APIKey) error {
	if output.json() {
		return printProtos(env.Out, list)
	}
	rows := make([][]string, len(list))
	for i, key := range list {
		rows[i] = []string{
			key.GetId(), timeText(key.GetCreateTime()), timeText(key.GetExpireTime()), timeText(key.GetLastUseTime()),
			permissionsText(key.GetPermissions()), printable([]byte(key.GetDescription())),
		}
	}
	return printTable(env.Out, []string{"ID", "CREATED", "ENDS", "LAST USED", "ALLOWS", "DESCRIPTION"}, rows)
}

// timeText is a time in a table, as RFC 3339 in UTC; - if there is none.
func timeText(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().Format(time.RFC3339)
}

// permissionsText is permissions in a table, spelled as --allow takes them.
func permissionsText(list []*flotillav1.Permission) string {
	permissions, err := tenancy.ParsePermissions(list)
	if err != nil {
		return "unknown"
	}
	var all []string
	for _, p := range permissions {
		text := strings.ReplaceAll(p.Actions.String(), "|", ",")
		if p.Actions == tenancy.AllActions {
			text = "everything"
		}
		if p.Namespace != "" || len(p.Prefix) > 0 {
			text += ":" + p.Namespace
		}
		if len(p.Prefix) > 0 {
			text += ":" + printable(p.Prefix)
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

func newKeyRotateCommand(env *Env) *cobra.Command {
	opts := &tenantOptions{}
	var overlap, expires time.Duration
	cmd := &cobra.Command{
		Use:   "rotate ID",
		Short: "Replace an API key by one that allows the same, and print it once",
		Long: `Makes a key that allows the same as another. Both are good for the overlap, in
which programs can change over; then the old one ends. The new one has the old
one's lifetime, from now on, unless --expires says another. For a key that never
ends in the place of one that does, create a key.`,
		Example: "  $ flotilla key rotate kvu2hbl4ykk5xtsq --overlap 48h",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			expire, err := expiry(expires)
			if err != nil {
				return err
			}
			req := &flotillav1.RotateAPIKeyRequest{Id: args[0], Overlap: durationpb.New(overlap), ExpireTime: expire}
			var made *flotillav1.RotateAPIKeyResponse
			err = opts.run(cmd, env, func(ctx context.Context, as asTenant) (err error) {
				made, err = as.tenant.RotateAPIKey(ctx, req)
				return err
			}, func(ctx context.Context, as asOperator) error {
				response, err := as.admin.RotateAPIKey(ctx, &adminv1.RotateAPIKeyRequest{Tenant: opts.tenant, Key: req})
				made = &flotillav1.RotateAPIKeyResponse{ApiKey: response.GetApiKey(), Secret: response.GetSecret(), Replaced: response.GetReplaced()}
				return err
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(env.Err, "%s ends at %s.\n", args[0], timeText(made.GetReplaced().GetExpireTime()))
			return printSecret(env, opts.output, made, made.GetSecret())
		},
	}
	opts.bind(cmd.Flags())
	cmd.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "for how long the old key is still good, up to 30 days")
	cmd.Flags().DurationVar(&expires, "expires", 0, "after how long the new key ends (default: the lifetime of the old one, which may be never)")
	return cmd
}

func newKeyRevokeCommand(env *Env) *cobra.Command {
	opts := &tenantOptions{}
	cmd := &cobra.Command{
		Use:   "revoke ID",
		Short: "End an API key within two seconds",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := opts.run(cmd, env, func(ctx context.Context, as asTenant) error {
				_, err := as.tenant.RevokeAPIKey(ctx, &flotillav1.RevokeAPIKeyRequest{Id: args[0]})
				return err
			}, func(ctx context.Context, as asOperator) error {
				_, err := as.admin.RevokeAPIKey(ctx, &adminv1.RevokeAPIKeyRequest{Tenant: opts.tenant, Id: args[0]})
				return err
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Out, "%s is revoked\n", args[0])
			return err
		},
	}
	opts.bind(cmd.Flags())
	return cmd
}
