package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

func newLeaseCommand(env *Env) *cobra.Command {
	return group("lease", "Begin, keep alive and end leases",
		newLeaseGrantCommand(env), newLeaseKeepAliveCommand(env), newLeaseRevokeCommand(env),
		newLeaseGetCommand(env), newLeaseListCommand(env))
}

type leaseOptions struct {
	client clientOptions
	output outputFlag
	grant  flotilla.GrantOptions
	get    flotilla.GetLeaseOptions
	ttl    time.Duration
	once   bool
	ids    []int64
}

func (o *leaseOptions) leases(client *flotilla.Client) *flotilla.Leases {
	return client.Namespace(o.client.namespace).Leases
}

// parseIDs reads leases' ids as commands print them.
func (o *leaseOptions) parseIDs(args []string) error {
	for _, arg := range args {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || id <= 0 {
			return usageError{fmt.Errorf("%q is not the id of a lease: it is a number greater than 0", arg)}
		}
		o.ids = append(o.ids, id)
	}
	return nil
}

func newLeaseGrantCommand(env *Env) *cobra.Command {
	opts := &leaseOptions{}
	cmd := &cobra.Command{
		Use:   "grant TTL",
		Short: "Begin a lease, and print its id",
		Long: `Begins a lease that ends after TTL unless it is kept alive. Keys are attached
to it with kv put --lease, and are deleted when it ends. TTL is a duration such
as 30s or 1h, in whole seconds.`,
		Example: `  $ flotilla lease grant 30s
  $ flotilla kv put workers/7 10.0.0.7:80 --lease "$(flotilla lease grant 30s)"`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ttl, err := time.ParseDuration(args[0])
			if err != nil {
				return usageError{fmt.Errorf("the TTL: %w", err)}
			}
			opts.ttl = ttl
			return runLeaseGrant(cmd.Context(), env, opts)
		},
	}
	opts.client.bind(cmd.Flags())
	opts.output.bind(cmd.Flags())
	cmd.Flags().Int64Var(&opts.grant.ID, "id", 0, "id of the lease; 0 lets the server choose")
	return cmd
}

func runLeaseGrant(ctx context.Context, env *Env, opts *leaseOptions) error {
	client, err := opts.client.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	granted, err := opts.leases(client).Grant(ctx, opts.ttl, &opts.grant)
	if err != nil {
		return err
	}
	if opts.output.json() {
		return printJSON(env.Out, struct {
			ID  string `json:"id"`
			TTL string `json:"ttl"`
		}{formatInt(granted.ID), granted.TTL.String()})
	}
	_, err = fmt.Fprintln(env.Out, granted.ID)
	return err
}

func newLeaseKeepAliveCommand(env *Env) *cobra.Command {
	opts := &leaseOptions{}
	cmd := &cobra.Command{
		Use:   "keep-alive ID...",
		Short: "Keep leases alive until interrupted",
		Long:  "Keeps leases alive until it is interrupted, or until one of them has ended.",
		Example: `  $ flotilla lease keep-alive 5577006791947779410
  $ flotilla lease keep-alive --once 5577006791947779410`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := opts.parseIDs(args); err != nil {
				return err
			}
			return runLeaseKeepAlive(cmd.Context(), env, opts)
		},
	}
	opts.client.bind(cmd.Flags())
	cmd.Flags().BoolVar(&opts.once, "once", false, "renew them once, and return")
	return cmd
}

func runLeaseKeepAlive(ctx context.Context, env *Env, opts *leaseOptions) error {
	client, err := opts.client.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	lost := make(chan error, len(opts.ids))
	for _, id := range opts.ids {
		lease, err := opts.leases(client).Resume(ctx, id)
		if err != nil {
			return err
		}
		fmt.Fprintf(env.Out, "lease %d lasts %s from now on\n", id, lease.TTL())
		held, cancel := lease.Context(ctx)
		defer cancel()
		context.AfterFunc(held, func() { lost <- context.Cause(held) })
	}
	if opts.once {
		return nil
	}
	if err := <-lost; ctx.Err() == nil {
		return err
	}
	return nil // it was interrupted
}

func newLeaseRevokeCommand(env *Env) *cobra.Command {
	opts := &leaseOptions{}
	cmd := &cobra.Command{
		Use:     "revoke ID",
		Short:   "End a lease and delete its keys",
		Example: "  $ flotilla lease revoke 5577006791947779410",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := opts.parseIDs(args); err != nil {
				return err
			}
			return runLeaseRevoke(cmd.Context(), env, opts)
		},
	}
	opts.client.bind(cmd.Flags())
	return cmd
}

func runLeaseRevoke(ctx context.Context, env *Env, opts *leaseOptions) error {
	client, err := opts.client.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	result, err := opts.leases(client).Revoke(ctx, opts.ids[0])
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Out, "deleted %d, revision %d\n", result.Deleted, result.Revision)
	return err
}

func newLeaseGetCommand(env *Env) *cobra.Command {
	opts := &leaseOptions{}
	cmd := &cobra.Command{
		Use:     "get ID",
		Short:   "Tell how long a lease lasts, and its keys",
		Example: "  $ flotilla lease get 5577006791947779410 --keys",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := opts.parseIDs(args); err != nil {
				return err
			}
			return runLeaseGet(cmd.Context(), env, opts)
		},
	}
	opts.client.bind(cmd.Flags())
	opts.output.bind(cmd.Flags())
	cmd.Flags().BoolVar(&opts.get.Keys, "keys", false, "list the keys that are attached to it")
	return cmd
}

func runLeaseGet(ctx context.Context, env *Env, opts *leaseOptions) error {
	client, err := opts.client.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	info, err := opts.leases(client).Get(ctx, opts.ids[0], &opts.get)
	if err != nil {
		return err
	}
	if opts.output.json() {
		return printJSON(env.Out, struct {
			ID           string   `json:"id"`
			GrantedTTL   string   `json:"granted_ttl"`
			RemainingTTL string   `json:"remaining_ttl"`
			Keys         []string `json:"keys,omitempty"`
		}{formatInt(info.ID), info.GrantedTTL.String(), info.RemainingTTL.String(), info.Keys})
	}
	if _, err := fmt.Fprintf(env.Out, "lease %d lasts another %s of %s\n", info.ID, info.RemainingTTL, info.GrantedTTL); err != nil {
		return err
	}
	for _, key := range info.Keys {
		if _, err := fmt.Fprintln(env.Out, printable([]byte(key))); err != nil {
			return err
		}
	}
	return nil
}

func newLeaseListCommand(env *Env) *cobra.Command {
	opts := &leaseOptions{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the ids of the leases",
		Long:  "Lists the ids of the leases, one a line.",
		Args:  args(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runLeaseList(cmd.Context(), env, opts) },
	}
	opts.client.bind(cmd.Flags())
	return cmd
}

func runLeaseList(ctx context.Context, env *Env, opts *leaseOptions) error {
	client, err := opts.client.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	for id, err := range opts.leases(client).List(ctx) {
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(env.Out, id); err != nil {
			return err
		}
	}
	return nil
}
