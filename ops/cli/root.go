// Package cli is the command line of flotilla, one file per command:
// <noun> <verb>. The answer goes to stdout and everything else to stderr.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/flotillakv/flotilla/ops/config"
)

// Env is what a command sees of the world, so that a test can show it another.
type Env struct {
	In        io.Reader
	Out, Err  io.Writer
	LookupEnv func(string) (string, bool)
	// Terminal is whether Out is one, on which a table is wanted.
	Terminal bool
}

// System is the process's own environment.
func System() *Env {
	info, err := os.Stdout.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, LookupEnv: os.LookupEnv, Terminal: terminal}
}

// Main runs a command line and returns the exit code: see exitCode.
func Main(ctx context.Context, env *Env, args []string) int {
	root := New(env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintf(env.Err, "flotilla: %s\n", describe(err))
	}
	return exitCode(err)
}

// New makes the command tree.
func New(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "flotilla",
		Short: "A multi-tenant key-value coordination platform",
		Long: `Flotilla gives every tenant what an etcd cluster gives, as a hosted API.

Start a node on this machine, and talk to it from another terminal:

  $ flotilla dev
  $ flotilla kv put greeting hello
  $ flotilla kv get greeting

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 not allowed,
5 try again.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := config.Fill(settings(cmd), env.LookupEnv); err != nil {
				return usageError{err}
			}
			return nil
		},
	}
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newDevCommand(env), newServeCommand(env), newKVCommand(env), newLeaseCommand(env), newNamespaceCommand(env), newKeyCommand(env),
		newTenantCommand(env), newOperatorCommand(env), newAuditCommand(env), newNodeCommand(env), newShardCommand(env), newCertCommand(env), newVersionCommand(env))
	return root
}

// settings are a command's flags, those of its parents included.
func settings(cmd *cobra.Command) *pflag.FlagSet {
	flags := pflag.NewFlagSet(cmd.Name(), pflag.ContinueOnError)
	flags.AddFlagSet(cmd.Flags())
	flags.AddFlagSet(cmd.InheritedFlags())
	return flags
}

// group makes a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// args wraps cobra's checks, so that a wrong number of arguments is a usage
// error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{fmt.Errorf("%w\nUsage: %s", err, cmd.UseLine())}
		}
		return nil
	}
}
