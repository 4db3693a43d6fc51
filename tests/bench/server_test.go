package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newShell is a server that is a line of shell and serves once it made the file
// "ready" in its directory.
func newShell(t *testing.T, line string) *server {
	t.Helper()
	s := &server{name: "shell", dir: t.TempDir(), path: "/bin/sh", args: []string{"-c", line}}
	s.probe = func(context.Context) error {
		_, err := os.Stat(filepath.Join(s.dir, "ready"))
		return err
	}
	t.Cleanup(s.stop)
	return s
}

func TestServerStartsAndIsMeasuredAndStartsAgainAndStops(t *testing.T) {
	t.Parallel()
	s := newShell(t, `touch ready; echo "$FACT" >> facts; sleep 60 & wait`)
	s.env = []string{"FACT=told"}
	took, err := s.start(t.Context())
	require.NoError(t, err)
	require.Positive(t, took)
	u, err := s.usage()
	require.NoError(t, err)
	require.Positive(t, u.RSS)

	first := s.process.Pid
	require.NoError(t, os.Remove(filepath.Join(s.dir, "ready")))
	_, err = s.restart(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, first, s.process.Pid)

	exited := s.exited
	s.stop()
	<-exited
	s.stop() // again, without harm
}

func TestServerThatEndsIsNoticed(t *testing.T) {
	t.Parallel()
	s := newShell(t, "echo the port is in use >&2; exit 1")
	_, err := s.start(t.Context())
	require.ErrorContains(t, err, "ended before it served")
	require.ErrorContains(t, err, "the port is in use")

	s = newShell(t, "touch ready; read line < fifo; exit 1")
	fifo := filepath.Join(s.dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	_, err = s.start(t.Context())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(fifo, []byte("end\n"), 0o600))
	<-s.exited
	_, err = s.usage()
	require.ErrorContains(t, err, "ended by itself")
}

func TestServerThatDoesNotServeIsGivenUp(t *testing.T) {
	t.Parallel()
	s := newShell(t, "sleep 60")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := s.start(ctx)
	require.ErrorContains(t, err, "does not serve")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestCgroupWithoutAMemoryControllerIsRefusedAndRemoved(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	_, err := newCgroup(parent, "server", 1)
	require.ErrorContains(t, err, "no memory controller")
	entries, err := os.ReadDir(parent)
	require.NoError(t, err)
	require.Empty(t, entries)

	var none *cgroup
	require.NoError(t, errors.Join(none.add(1), none.remove()))
}
