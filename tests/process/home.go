package process

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// commandTimeout is when a command that does not end is killed.
const commandTimeout = 60 * time.Second

// A Home is the surroundings of commands that belong together: a home
// directory of their own, so that a context file is neither found nor left
// behind, and an environment without settings of the machine.
type Home struct {
	// Dir is the home directory.
	Dir string
	// Env are further variables, as NAME=value.
	Env []string

	tags string // that the program is built with
}

// NewHome makes an empty home, which ends with the test.
func NewHome(t *testing.T) *Home {
	t.Helper()
	return &Home{Dir: t.TempDir()}
}

// With is the same home with further variables, as NAME=value.
func (h *Home) With(env ...string) *Home {
	return &Home{Dir: h.Dir, Env: append(append([]string{}, h.Env...), env...), tags: h.tags}
}

func (h *Home) command(t *testing.T, args []string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(programPath(t, h.tags), args...)
	cmd.Dir = h.Dir
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + h.Dir,
		"XDG_CONFIG_HOME=" + filepath.Join(h.Dir, "config"),
		"GOMEMLIMIT=512MiB", // several run at the same time
		"GORACE=halt_on_error=1",
	}, h.Env...)
	endWithParent(cmd)
	return cmd
}

// Result is what a command did.
type Result struct {
	Stdout, Stderr string
	// Code is the exit code.
	Code int
}

// Run runs a command to its end, with nothing to read.
func (h *Home) Run(t *testing.T, args ...string) Result {
	t.Helper()
	return h.RunWithInput(t, "", args...)
}

// RunWithInput runs a command to its end.
func (h *Home) RunWithInput(t *testing.T, input string, args ...string) Result {
	t.Helper()
	cmd := h.command(t, args)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	require.NoError(t, cmd.Start())
	watchdog := time.AfterFunc(commandTimeout, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	err := cmd.Wait()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		require.NoError(t, err)
	}
	result := Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
	require.GreaterOrEqual(t, result.Code, 0, "flotilla %s did not end by itself\n%s%s",
		strings.Join(args, " "), result.Stdout, result.Stderr)
	return result
}
