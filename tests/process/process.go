package process

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

const (
	// startTimeout bounds the wait for the ready line. A start takes half a
	// second; a machine that is busy with other tests takes longer.
	startTimeout = 60 * time.Second
	// stopTimeout bounds the wait for the end after a signal.
	stopTimeout = 60 * time.Second
)

// Info is what dev.json says.
type Info struct {
	APIURL string `json:"api_url"`
	OpsURL string `json:"ops_url"`
	// OperatorFile is where the credential of the first operator is.
	OperatorFile string `json:"operator_file"`
	EtcdURL      string `json:"etcd_url"`
	Tenant       string `json:"tenant"`
	Namespace    string `json:"namespace"`
	APIKey       string `json:"api_key"`
}

// A Process is a node that a test runs. Its methods are for the test's own
// goroutine, but for Client and what it makes.
type Process struct {
	// Home is where it was started.
	Home *Home
	// DataDir is its data directory, which it keeps over restarts.
	DataDir string
	// Info is of its last start.
	Info Info

	args     []string // command and flags of every start
	infoFile string   // that the node writes in its data directory

	cmd    *exec.Cmd
	out    *output
	exited chan struct{}          // closed when cmd has ended
	api    atomic.Pointer[string] // host:port of the API; nil while it does not serve
}

// Dev starts a dev node on a new data directory and waits until it is ready.
func Dev(t *testing.T, flags ...string) *Process {
	t.Helper()
	return NewHome(t).Dev(t, filepath.Join(t.TempDir(), "data"), flags...)
}

// Dev starts a dev node on a data directory and waits until it is ready. It
// takes free ports unless the flags name others, and ends with the test.
func (h *Home) Dev(t *testing.T, dataDir string, flags ...string) *Process {
	t.Helper()
	p := &Process{Home: h, DataDir: dataDir, infoFile: "dev.json", args: []string{
		"dev", "--data-dir", dataDir, "--listen-api", "127.0.0.1:0", "--listen-ops", "127.0.0.1:0", "--listen-etcd", "127.0.0.1:0",
	}}
	t.Cleanup(func() { p.cleanup(t) })
	p.Start(t, flags...)
	return p
}

// Start starts the node again after it ended, and waits until it is ready.
func (p *Process) Start(t *testing.T, flags ...string) {
	t.Helper()
	p.Launch(t, flags...)
	p.WaitReady(t)
}

// Launch starts the node and does not wait.
func (p *Process) Launch(t *testing.T, flags ...string) {
	t.Helper()
	require.False(t, p.running(), "the node runs")
	// A flag that is given twice has its last value.
	args := append(slices.Clone(p.args), flags...)
	p.cmd, p.out, p.exited = p.Home.command(t, args), newOutput(p.out), make(chan struct{})
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	require.NoError(t, p.cmd.Start())
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(exited)
	}(p.cmd, p.exited)
}

// WaitReady waits for the ready line of a node that was launched.
func (p *Process) WaitReady(t *testing.T) {
	t.Helper()
	select {
	case <-p.out.ready:
	case <-p.exited:
		require.FailNow(t, "the node ended before it was ready", "%s\n%s", p.cmd.ProcessState, p.out)
	case <-time.After(startTimeout):
		p.endWithStacks()
		require.FailNow(t, "the node is not ready", "%s", p.out)
	}
	if p.infoFile == "" {
		return
	}
	data, err := os.ReadFile(filepath.Join(p.DataDir, p.infoFile))
	require.NoError(t, err)
	p.Info = Info{}
	require.NoError(t, json.Unmarshal(data, &p.Info))
	address, err := url.Parse(p.Info.APIURL)
	require.NoError(t, err)
	p.api.Store(&address.Host)
}

func (p *Process) running() bool {
	if p.exited == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Kill ends the node as kill -9 does, and waits until it has ended.
func (p *Process) Kill(t *testing.T) {
	t.Helper()
	p.api.Store(nil)
	p.signal(t, syscall.SIGKILL)
	p.checkRaces(t)
}

// Stop asks the node to end, waits until it has, and requires that it says it
// ended well.
func (p *Process) Stop(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	p.api.Store(nil)
	require.Zero(t, p.cmd.ProcessState.ExitCode(), "%s\n%s", p.cmd.ProcessState, p.out)
	p.checkRaces(t)
}

func (p *Process) signal(t *testing.T, signal os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); !errors.Is(err, os.ErrProcessDone) {
		require.NoError(t, err)
	}
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		p.endWithStacks()
		require.FailNow(t, "the node does not end", "%s\n%s", signal, p.out)
	}
}

// endWithStacks ends a node, which may not do what it should, and has it print what
// all its goroutines do.
func (p *Process) endWithStacks() {
	_ = p.cmd.Process.Signal(syscall.SIGQUIT)
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // it may be paused
	select {
	case <-p.exited:
	case <-time.After(stopTimeout): // the cleanup ends it
	}
}

// checkRaces fails the test when the race detector found something.
func (p *Process) checkRaces(t *testing.T) {
	t.Helper()
	if raceDetector {
		require.NotContains(t, p.out.String(), "WARNING: DATA RACE")
	}
}

// PID is the number of the node's process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output is what the node printed since its last start, or the end of it.
func (p *Process) Output() string { return p.out.String() }

func (p *Process) cleanup(t *testing.T) {
	t.Helper()
	if p.running() {
		if t.Failed() {
			p.endWithStacks() // a node that hangs says where
		}
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	if t.Failed() && p.out != nil {
		t.Logf("output of the node on %s:\n%s", p.DataDir, p.out.all())
	}
}

// Client makes a client of the node, which the test's cleanup closes. It finds
// the node again after a restart, which may give it another port.
func (p *Process) Client(t *testing.T) *flotilla.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client, err := flotilla.New(flotilla.Config{
		URL: "http://node.invalid", APIKey: p.Info.APIKey, AttemptsMax: 1000,
		HTTPClient: &http.Client{Transport: &http.Transport{Protocols: protocols, DialContext: p.dial}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// dial connects to where the node serves at present. While it is down the port
// that it had may belong to somebody else, so that is not tried.
func (p *Process) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	address := p.api.Load()
	if address == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	var d net.Dialer
	return d.DialContext(ctx, network, *address)
}
