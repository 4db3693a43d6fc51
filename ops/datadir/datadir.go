package datadir

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Options are what a directory is opened with.
type Options struct {
	// ClusterID is the cluster that the node belongs to. Empty takes the
	// recorded one, or makes one for a directory that is new.
	ClusterID string
	// Layout is the layout of the Raft logs. Fields that are 0 take the
	// recorded value, or 1 in a directory that is new.
	Layout Layout
	// WorkingDir is where the process runs. Default ".".
	WorkingDir string
	// Now is written into the identity of a new directory.
	Now time.Time
}

// Layout is how the Raft logs are laid out on disk. It never changes during the
// life of a node: what is there would not be found again.
type Layout struct {
	// LogStoreShards is the number of log stores, each of which syncs for
	// itself.
	LogStoreShards uint64 `json:"log_store_shards"`
	// ExecShards is the number of threads that write them.
	ExecShards uint64 `json:"exec_shards"`
}

// Dir is a data directory that this process holds.
type Dir struct {
	path     string
	lock     *os.File
	identity Identity
	replicas replicaSet
}

// Open takes the directory for this process, and makes it, with mode 0700, when
// it is not there. It changes no data in a directory that it refuses, which it
// does with
//
//   - *LockedError when another process holds it,
//   - *NewerVersionError when a newer version wrote it,
//   - *LayoutError or *ClusterError when it was made with other options,
//   - *DamagedError when a file of its own is missing or cannot be read,
//   - *SettingsFileError when the working directory holds a file that would
//     change the format of the Raft logs.
func Open(path string, opts Options) (*Dir, error) {
	if err := checkWorkingDir(cmp.Or(opts.WorkingDir, ".")); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open the data directory: %w", err)
	}
	if err := makeDir(path); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	lock, err := takeLock(path)
	if err != nil {
		return nil, err
	}
	d := &Dir{path: path, lock: lock}
	if err := d.load(opts); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Dir) load(opts Options) (err error) {
	if d.identity, err = openIdentity(d.path, opts); err != nil {
		return err
	}
	if err := d.replicas.open(d.path); err != nil {
		return err
	}
	if _, err := os.Stat(d.State()); errors.Is(err, fs.ErrNotExist) && len(d.Replicas()) > 0 {
		// The log before what the state held is gone, so replaying it cannot
		// bring the state back.
		return &DamagedError{Path: d.State(), Err: errors.New("the state is missing, though replicas ran here")}
	}
	for _, sub := range []string{d.State(), d.Raft()} {
		if err := makeDir(sub); err != nil {
			return fmt.Errorf("make the data directory: %w", err)
		}
	}
	return nil
}

// Path is the directory itself, as an absolute path.
func (d *Dir) Path() string { return d.path }

// State is where the state of the shards lives.
func (d *Dir) State() string { return filepath.Join(d.path, stateName) }

// Raft is where the Raft logs live.
func (d *Dir) Raft() string { return filepath.Join(d.path, raftName) }

// Identity is who the node is.
func (d *Dir) Identity() Identity { return d.identity }

// Close gives the directory back. It is called after everything that writes
// into it has stopped.
func (d *Dir) Close() error {
	// Closing the file is not enough: a process that is being started at this
	// moment has a copy of it until it executes its program, and with the copy
	// the lock.
	err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_UN)
	if err := errors.Join(err, d.lock.Close()); err != nil {
		return fmt.Errorf("unlock the data directory: %w", err)
	}
	return nil
}

const (
	stateName = "state"
	raftName  = "raft"
)

// makeDir makes a directory and those above it, and makes sure that it stays.
func makeDir(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: path, Err: errors.New("is not a directory")}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(path)
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

// checkWorkingDir refuses a working directory that holds settings of the
// consensus library: it would read them without asking, and they change the
// format of what it stores.
func checkWorkingDir(dir string) error {
	found, err := filepath.Glob(filepath.Join(dir, "dragonboat-*-settings.json"))
	if err != nil {
		return fmt.Errorf("look for settings files: %w", err)
	}
	if len(found) > 0 {
		return &SettingsFileError{Path: found[0]}
	}
	return nil
}
