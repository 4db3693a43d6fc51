package datadir

import "fmt"

// LockedError says that another process holds the directory.
type LockedError struct {
	// Path is the directory.
	Path string
	// PID is the process, 0 when that is not known.
	PID int
}

func (e *LockedError) Error() string {
	holder := "another process"
	if e.PID != 0 {
		holder = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("the data directory %s is in use by %s: stop that one, or use another directory", e.Path, holder)
}

// NewerVersionError says that a newer version of flotilla wrote the directory.
type NewerVersionError struct {
	// Path is the directory.
	Path string
	// Found is the format version of the directory, Supported the newest one
	// that this program knows.
	Found, Supported int
}

func (e *NewerVersionError) Error() string {
	return fmt.Sprintf("the data directory %s has format version %d and this program knows up to %d: "+
		"start the version of flotilla that wrote it, or a newer one", e.Path, e.Found, e.Supported)
}

// LayoutError says that the directory was made with another layout of the Raft
// logs.
type LayoutError struct {
	// Path is the directory.
	Path string
	// Recorded is the layout it was made with, Wanted the one asked for.
	Recorded, Wanted Layout
}

func (e *LayoutError) Error() string {
	return fmt.Sprintf("the data directory %s was made with %d log stores and %d writers, not %d and %d: "+
		"the layout can never change, so start with the recorded numbers", e.Path,
		e.Recorded.LogStoreShards, e.Recorded.ExecShards, e.Wanted.LogStoreShards, e.Wanted.ExecShards)
}

// ClusterError says that the directory belongs to a node of another cluster.
type ClusterError struct {
	// Path is the directory.
	Path string
	// Recorded is the cluster of the directory, Wanted the one asked for.
	Recorded, Wanted string
}

func (e *ClusterError) Error() string {
	return fmt.Sprintf("the data directory %s belongs to cluster %s, not %s: use another directory for a node of that cluster",
		e.Path, e.Recorded, e.Wanted)
}

// DamagedError says that a file of the directory is missing or cannot be read.
type DamagedError struct {
	// Path is the file.
	Path string
	// Err says what is wrong with it.
	Err error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s is damaged (%v): restore the data directory as a whole, "+
		"or start the node with an empty one and let it join anew", e.Path, e.Err)
}

// Unwrap returns what is wrong with the file.
func (e *DamagedError) Unwrap() error { return e.Err }

// SettingsFileError says that a file in the working directory would change the
// format of the Raft logs.
type SettingsFileError struct {
	// Path is the file.
	Path string
}

func (e *SettingsFileError) Error() string {
	return fmt.Sprintf("%s would change the format of the Raft logs: remove it, or start in another directory", e.Path)
}
