package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	flotillaModule = "github.com/flotillakv/flotilla"
	etcdPackage    = "go.etcd.io/etcd/server/v3"
)

// bench is one run.
type bench struct {
	opts     options
	out      io.Writer
	progress *progress
	report   report
	dir      string // of everything that the run writes
}

func newBench(o options, out, progressOut io.Writer) (*bench, error) {
	dir, err := os.MkdirTemp(o.dir, "flotilla-bench-")
	if err != nil {
		return nil, err
	}
	return &bench{opts: o, out: out, progress: newProgress(progressOut), report: newReport(), dir: dir}, nil
}

func (b *bench) cleanUp() {
	if err := os.RemoveAll(b.dir); err != nil {
		b.progress.say("left behind: %v", err)
	}
}

// build makes the binaries that were not given.
func (b *bench) build(ctx context.Context) error {
	if b.opts.flotillaPath == "" {
		// In its own module, with the versions that it is released with.
		root, err := command(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", flotillaModule)
		if err != nil {
			return err
		}
		b.progress.say("build flotilla")
		b.opts.flotillaPath = filepath.Join(b.dir, "flotilla-server")
		if _, err := command(ctx, root, "go", "build", "-o", b.opts.flotillaPath, "./ops/cmd/flotilla"); err != nil {
			return err
		}
	}
	if b.opts.etcdPath == "" && b.opts.compares() {
		b.progress.say("build etcd")
		b.opts.etcdPath = filepath.Join(b.dir, "etcd-server")
		if _, err := command(ctx, "", "go", "build", "-o", b.opts.etcdPath, etcdPackage); err != nil {
			return err
		}
	}
	return b.absolutePaths()
}

// absolutePaths makes paths hold for servers, which run in their own directory.
func (b *bench) absolutePaths() (err error) {
	for _, path := range []*string{&b.opts.flotillaPath, &b.opts.etcdPath, &b.dir} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	return nil
}

func command(ctx context.Context, dir, name string, args ...string) (output string, err error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// makeSide makes a directory for a server, and its cgroup if one is asked for.
func (b *bench) makeSide(name, path string, describe func(o *options, path, dir string) (*side, error)) (*side, error) {
	dir := filepath.Join(b.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	s, err := describe(&b.opts, path, dir)
	if err != nil || b.opts.cgroup == "" {
		return s, err
	}
	s.server.limit, err = newCgroup(b.opts.cgroup, filepath.Base(b.dir)+"-"+name, b.opts.memoryLimit)
	return s, err
}

// startSide starts a server and connects to it.
func (b *bench) startSide(ctx context.Context, s *side, clients int) error {
	if _, err := s.server.start(ctx); err != nil {
		return err
	}
	return s.open(clients)
}

// compare runs both servers under the same load and prints the results.
func (b *bench) compare(ctx context.Context) (err error) {
	ours, err := b.makeSide("flotilla", b.opts.flotillaPath, newFlotillaSide)
	if err != nil {
		return err
	}
	defer ours.close()
	theirs, err := b.makeSide("etcd", b.opts.etcdPath, newEtcdSide)
	if err != nil {
		return err
	}
	defer theirs.close()
	err = errors.Join(
		b.startSide(ctx, ours, b.opts.flotillaClients),
		b.startSide(ctx, theirs, b.opts.etcdClients),
	)
	if err != nil {
		return err
	}

	sides := both[*side]{ours, theirs}
	d := newData(b.opts.keys, b.opts.valueBytes)
	if err := b.noteMemory("empty", sides); err != nil {
		return err
	}
	for _, s := range sides.list() {
		if err := preload(ctx, s, d, b.progress); err != nil {
			return err
		}
	}
	if err := b.noteMemory("after preload", sides); err != nil {
		return err
	}
	for _, w := range b.opts.workloads {
		for _, callers := range b.opts.callers {
			if err := b.measure(ctx, sides, d, w, callers); err != nil {
				return err
			}
		}
	}
	if len(b.opts.workloads) > 0 {
		if err := b.noteMemory("after the run", sides); err != nil {
			return err
		}
	}
	if b.opts.watches > 0 {
		if err := b.measureFanOut(ctx, sides, d); err != nil {
			return err
		}
	}
	if b.opts.idleWatches > 0 {
		if err := b.measureIdleWatches(ctx, sides); err != nil {
			return err
		}
	}
	if b.opts.restart {
		if err := b.measureRestart(ctx, sides); err != nil {
			return err
		}
	}
	b.report.printComparison(b.out, b.opts)
	return nil
}

// measure measures one workload with one number of callers.
func (b *bench) measure(ctx context.Context, sides both[*side], d data, w workload, n int) error {
	var callers both[[]*caller]
	for i, s := range sides.list() {
		*callers.at(i) = newCallers(s, d, n)
		if err := prepareCallers(ctx, w, *callers.at(i)); err != nil {
			return fmt.Errorf("prepare %s of %s: %w", w.name, s.name, err)
		}
		if _, err := runSlice(ctx, s, w, *callers.at(i), b.opts.warmUp); err != nil {
			return err
		}
	}
	var results both[[]sliceResult]
	for range b.opts.rounds {
		for i, s := range sides.list() {
			if err := rest(ctx, b.opts.pause); err != nil {
				return err
			}
			r, err := runSlice(ctx, s, w, *callers.at(i), b.opts.slice)
			if err != nil {
				return err
			}
			*results.at(i) = append(*results.at(i), r)
		}
	}
	row := comparison{
		Workload: w.name, Callers: n,
		both: both[result]{summarize(results.Flotilla), summarize(results.Etcd)},
	}
	b.report.Comparison = append(b.report.Comparison, row)
	b.progress.say("%s, %d callers: flotilla %s/s, etcd %s/s", w.name, n,
		thousands(row.Flotilla.OpsPerSecond), thousands(row.Etcd.OpsPerSecond))
	if b.opts.profileDir == "" {
		return nil
	}
	for i, s := range sides.list() {
		if err := b.profile(ctx, s, w, *callers.at(i)); err != nil {
			return err
		}
	}
	return nil
}

// noteMemory notes what both servers hold at a moment of the run.
func (b *bench) noteMemory(moment string, sides both[*side]) error {
	row := memoryRow{Moment: moment}
	for i, s := range sides.list() {
		u, err := s.server.usage()
		if err != nil {
			return err
		}
		disk, err := diskBytes(s.server.dir)
		if err != nil {
			return err
		}
		*row.at(i) = footprint{memory: u.memory, Disk: disk}
	}
	b.report.Memory = append(b.report.Memory, row)
	return nil
}
