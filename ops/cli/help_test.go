package cli

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/help.txt anew")

// The help of every command is a golden file: a change of a flag or a word is
// seen in review. Run `go test ./ops/cli -update` after one that is meant.
func TestHelp(t *testing.T) {
	t.Parallel()
	var all bytes.Buffer
	env := &Env{In: strings.NewReader(""), Out: &all, Err: &all, LookupEnv: func(string) (string, bool) { return "", false }}
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Hidden || cmd.Name() == "help" || cmd.Name() == "completion" {
			return
		}
		all.WriteString("$ " + cmd.CommandPath() + " --help\n\n")
		require.NoError(t, cmd.Help())
		all.WriteString("\n")
		for _, child := range cmd.Commands() {
			visit(child)
		}
	}
	visit(New(env))
	path := filepath.Join("testdata", "help.txt")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, all.Bytes(), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), all.String())
}
