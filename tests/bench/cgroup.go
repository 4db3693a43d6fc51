package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// cgroup confines the memory of one server, page cache included: the kernel
// first takes back cache, and ends the server if that is not enough.
type cgroup struct{ dir string }

// newCgroup makes a cgroup inside parent, which must be a v1 memory cgroup or a
// v2 one with the memory controller.
func newCgroup(parent, name string, limit byteSize) (*cgroup, error) {
	g := &cgroup{dir: filepath.Join(parent, name)}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, err
	}
	for _, file := range []string{"memory.max", "memory.limit_in_bytes"} {
		path := filepath.Join(g.dir, file)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := writeControl(path, int64(limit)); err != nil {
			return nil, errors.Join(err, g.remove())
		}
		return g, nil
	}
	return nil, errors.Join(fmt.Errorf("%s has no memory controller", parent), g.remove())
}

// add moves a process into the group. What it used before stays where it was,
// so it is called right after the start.
func (g *cgroup) add(pid int) error {
	if g == nil {
		return nil
	}
	return writeControl(filepath.Join(g.dir, "cgroup.procs"), int64(pid))
}

// remove removes the group, whose processes must have ended.
func (g *cgroup) remove() error {
	if g == nil {
		return nil
	}
	return os.Remove(g.dir)
}

func writeControl(path string, value int64) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(strconv.FormatInt(value, 10))
	return errors.Join(err, file.Close())
}
