package datadir

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/flotillakv/flotilla/shards"
)

const replicasName = "replicas.json"

// Replica names a replica of a shard.
type Replica struct {
	// Shard is the shard.
	Shard shards.ShardID `json:"shard"`
	// Replica is the replica's number, which is never used again once the
	// replica is removed.
	Replica uint64 `json:"replica"`
}

// replicaSet is the replicas that were ever started in the directory.
//
// A replica has promised its shard what is in its log: whom it voted for, which
// entries it stored. Without the log it must not be started again under the
// same number, or it breaks those promises. The set is kept outside of the log
// so that it is still there when the log is not.
type replicaSet struct {
	dir string

	// mu guards started, and that one write follows the other.
	mu      sync.Mutex
	started []Replica
}

type replicasFile struct {
	Replicas []Replica `json:"replicas"`
}

func (s *replicaSet) open(dir string) error {
	s.dir = dir
	path := filepath.Join(dir, replicasName)
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("read the replicas of the data directory: %w", err)
	}
	var file replicasFile
	if err := parseJSON(data, &file); err != nil {
		return &DamagedError{Path: path, Err: err}
	}
	s.started = file.Replicas
	return nil
}

// MarkReplica records, durably, that the replica was started here. It is called
// once the replica's log exists: a mark without a log says that the log was lost.
func (d *Dir) MarkReplica(shard shards.ShardID, replica uint64) error {
	s := &d.replicas
	s.mu.Lock()
	defer s.mu.Unlock()
	mark := Replica{Shard: shard, Replica: replica}
	if slices.Contains(s.started, mark) {
		return nil
	}
	started := append(slices.Clone(s.started), mark)
	slices.SortFunc(started, func(a, b Replica) int {
		return cmp.Or(cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Replica, b.Replica))
	})
	if err := writeJSON(s.dir, replicasName, replicasFile{Replicas: started}); err != nil {
		return fmt.Errorf("mark replica %d of shard %d: %w", replica, shard, err)
	}
	s.started = started
	return nil
}

// UnmarkReplica forgets, durably, that the replica was started here. It is called
// once the replica is no member of its shard any more and its log is removed.
func (d *Dir) UnmarkReplica(shard shards.ShardID, replica uint64) error {
	s := &d.replicas
	s.mu.Lock()
	defer s.mu.Unlock()
	mark := Replica{Shard: shard, Replica: replica}
	if !slices.Contains(s.started, mark) {
		return nil
	}
	started := slices.DeleteFunc(slices.Clone(s.started), func(r Replica) bool { return r == mark })
	if err := writeJSON(s.dir, replicasName, replicasFile{Replicas: started}); err != nil {
		return fmt.Errorf("unmark replica %d of shard %d: %w", replica, shard, err)
	}
	s.started = started
	return nil
}

// HasReplica says whether the replica was ever started here. One that was, and
// whose log is gone, must not be started again.
func (d *Dir) HasReplica(shard shards.ShardID, replica uint64) bool {
	return slices.Contains(d.Replicas(), Replica{Shard: shard, Replica: replica})
}

// Replicas returns all replicas that were ever started here, ordered by shard.
func (d *Dir) Replicas() []Replica {
	d.replicas.mu.Lock()
	defer d.replicas.mu.Unlock()
	return slices.Clone(d.replicas.started)
}
