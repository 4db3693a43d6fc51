package datadir_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/ops/datadir"
)

// holdVariable makes the test program hold a directory until its standard input
// ends, instead of running tests.
const holdVariable = "FLOTILLA_TEST_HOLD_DATA_DIR"

func TestMain(m *testing.M) {
	if path := os.Getenv(holdVariable); path != "" {
		hold(path)
		return
	}
	os.Exit(m.Run())
}

func hold(path string) {
	dir, err := datadir.Open(path, datadir.Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("held by", dir.Identity().NodeID)
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = dir.Close()
}

// TestOneProcessAtATime has another process hold the directory, and then kills
// it: the directory is free again at once.
func TestOneProcessAtATime(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	holder := exec.CommandContext(t.Context(), os.Args[0])
	holder.Env = append(os.Environ(), holdVariable+"="+path)
	stdin, err := holder.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close()
	stdout, err := holder.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, holder.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "held by")

	_, err = datadir.Open(path, datadir.Options{})
	var locked *datadir.LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, &datadir.LockedError{Path: path, PID: holder.Process.Pid}, locked)
	require.ErrorContains(t, err, fmt.Sprintf("process %d", holder.Process.Pid))

	require.NoError(t, holder.Process.Kill())
	require.Error(t, holder.Wait())
	open(t, path, datadir.Options{})
}

// TestOneOwnerInAProcess: the lock holds between two openings by one process
// too.
func TestOneOwnerInAProcess(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir := open(t, path, datadir.Options{})
	_, err := datadir.Open(path, datadir.Options{})
	var locked *datadir.LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, os.Getpid(), locked.PID)
	require.NoError(t, dir.Close())
	open(t, path, datadir.Options{})
}
