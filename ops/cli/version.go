package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/flotillakv/flotilla/ops/version"
)

func newVersionCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(env.Out, "flotilla", version.String(), runtime.Version())
			return err
		},
	}
}
