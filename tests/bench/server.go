package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

const (
	// stopTimeout is how long a server may take to stop gracefully.
	stopTimeout = 15 * time.Second
	// probeInterval is how often a starting server is asked whether it serves:
	// the resolution of start-up times.
	probeInterval = 5 * time.Millisecond
	probeTimeout  = time.Second
)

// server is a server's process, which can be started again after it ended.
type server struct {
	name string
	// dir holds its data and its output.
	dir  string
	path string
	args []string
	env  []string
	// probe asks whether it serves: nil once a read of a key is answered.
	probe func(context.Context) error
	// limit confines its memory; nil for nothing.
	limit *cgroup
	// others are the further members of a cluster, which start, end and are
	// measured with this one.
	others []*server

	process *os.Process
	exited  chan struct{} // closed when process ended
}

// start starts the process, and those of other members, and waits until it serves.
func (s *server) start(ctx context.Context) (took time.Duration, err error) {
	begin := time.Now()
	for _, member := range s.members() {
		if err := member.launch(); err != nil {
			return 0, err
		}
	}
	if err := s.waitReady(ctx); err != nil {
		return 0, fmt.Errorf("start %s: %w\n%s", s.name, err, s.logTail())
	}
	return time.Since(begin), nil
}

func (s *server) members() []*server { return append([]*server{s}, s.others...) }

// launch starts the process.
func (s *server) launch() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	// Not CommandContext: the process is ended by stop, with its group.
	cmd := exec.Command(s.path, s.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	cmd.Env = append(os.Environ(), s.env...)
	// A group of its own keeps a terminal's Ctrl-C from it: this process ends
	// it in order, and the kernel does if this process is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	exited := make(chan struct{})
	s.process, s.exited = cmd.Process, exited
	go func() {
		_ = cmd.Wait() // how it ended is told by its output
		close(exited)
	}()
	if err := s.limit.add(s.process.Pid); err != nil {
		return fmt.Errorf("confine %s: %w", s.name, err)
	}
	return nil
}

func (s *server) waitReady(ctx context.Context) error {
	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, probeTimeout)
		err := s.probe(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return errors.New("it ended before it served")
		case <-ctx.Done():
			return fmt.Errorf("it does not serve: %w", err)
		case <-ticker.C:
		}
	}
}

// stop asks the processes to end and ends those that do not.
func (s *server) stop() {
	for _, member := range s.members() {
		if member.process != nil {
			_ = syscall.Kill(-member.process.Pid, syscall.SIGTERM) // it may have ended
		}
	}
	timeout := time.After(stopTimeout)
	for _, member := range s.members() {
		if member.process == nil {
			continue
		}
		select {
		case <-member.exited:
		case <-timeout:
		}
	}
	s.kill()
}

// kill ends the processes as kill -9 does.
func (s *server) kill() {
	for _, member := range s.members() {
		member.killOne()
	}
}

func (s *server) killOne() {
	if s.process == nil {
		return
	}
	select {
	case <-s.exited: // its id may be another process's by now
	default:
		_ = syscall.Kill(-s.process.Pid, syscall.SIGKILL) // it may just have ended
		<-s.exited
	}
	s.process = nil
}

// restart kills the process and times how soon a new one serves.
func (s *server) restart(ctx context.Context) (time.Duration, error) {
	s.kill()
	return s.start(ctx)
}

// usage is what the processes used until now, together.
func (s *server) usage() (usage, error) {
	var sum usage
	for _, member := range s.members() {
		u, err := member.ownUsage()
		if err != nil {
			return usage{}, err
		}
		sum = sum.plus(u)
	}
	return sum, nil
}

func (s *server) ownUsage() (usage, error) {
	select {
	case <-s.exited:
		return usage{}, fmt.Errorf("%s ended by itself\n%s", s.name, s.logTail())
	default:
	}
	proc := filepath.Join("/proc", strconv.Itoa(s.process.Pid))
	stat, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return usage{}, err
	}
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return usage{}, err
	}
	cpu, cpuErr := parseStat(stat)
	memory, memoryErr := parseStatus(status)
	return usage{CPU: cpu, memory: memory}, errors.Join(cpuErr, memoryErr)
}

func (s *server) logFile() string { return filepath.Join(s.dir, "output.log") }

// logTail is the end of what the server printed.
func (s *server) logTail() []byte {
	const tailBytes = 2000
	output, err := os.ReadFile(s.logFile())
	if err != nil {
		return []byte(err.Error())
	}
	return bytes.TrimSpace(output[max(0, len(output)-tailBytes):])
}

// freeAddress is an address of this machine at which nobody listens. Its port is
// below those that the kernel gives to connections, so that none takes it before
// the server does, nor while the server is restarted.
func freeAddress() (string, error) {
	const portMin, portMax, attempts = 20_000, 32_000, 100
	var err error
	for range attempts {
		address := fmt.Sprintf("127.0.0.1:%d", portMin+rand.IntN(portMax-portMin))
		var listener net.Listener
		if listener, err = net.Listen("tcp", address); err == nil {
			return address, listener.Close()
		}
	}
	return "", fmt.Errorf("find a free port: %w", err)
}

func freeAddresses(n int) ([]string, error) {
	var list []string
	for len(list) < n {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		if !slices.Contains(list, address) {
			list = append(list, address)
		}
	}
	return list, nil
}

// serverEnv is the environment of both servers.
func serverEnv(o *options) []string {
	var env []string
	if o.goMaxProcs > 0 {
		env = append(env, "GOMAXPROCS="+strconv.Itoa(o.goMaxProcs))
	}
	if o.memoryLimit > 0 {
		env = append(env, "GOMEMLIMIT="+strconv.FormatInt(int64(o.memoryLimit), 10))
	}
	return env
}
