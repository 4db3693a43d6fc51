package datadir

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// FormatVersion is the format of the data directory that this program writes,
// and the newest that it reads.
const FormatVersion = 1

const identityName = "identity.json"

// Identity is who a node is. It is made with the directory and never changed.
type Identity struct {
	// FormatVersion is the format of the whole directory.
	FormatVersion int `json:"format_version"`
	// NodeID is the node's UUID: it stays when the node's address changes.
	NodeID string `json:"node_id"`
	// ClusterID is the UUID of all nodes together.
	ClusterID string `json:"cluster_id"`
	Layout
	// Created is when the directory was made.
	Created time.Time `json:"created"`
}

// Recorded reads the identity of a directory without taking it, and whether it
// has one: it has none before its first Open. Its errors are those of Open.
func Recorded(path string) (identity Identity, ok bool, err error) {
	data, err := os.ReadFile(filepath.Join(path, identityName))
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, false, nil
	}
	if err != nil {
		return Identity{}, false, fmt.Errorf("read the node's identity: %w", err)
	}
	identity, err = parseIdentity(path, data)
	return identity, err == nil, err
}

// openIdentity reads the identity of the directory, or makes it in one that
// holds nothing yet.
func openIdentity(dir string, opts Options) (Identity, error) {
	path := filepath.Join(dir, identityName)
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return makeIdentity(dir, opts)
	case err != nil:
		return Identity{}, fmt.Errorf("read the node's identity: %w", err)
	}
	identity, err := parseIdentity(dir, data)
	if err != nil {
		return Identity{}, err
	}
	wanted := Layout{
		LogStoreShards: cmp.Or(opts.Layout.LogStoreShards, identity.LogStoreShards),
		ExecShards:     cmp.Or(opts.Layout.ExecShards, identity.ExecShards),
	}
	switch {
	case wanted != identity.Layout:
		return Identity{}, &LayoutError{Path: dir, Recorded: identity.Layout, Wanted: wanted}
	case opts.ClusterID != "" && opts.ClusterID != identity.ClusterID:
		return Identity{}, &ClusterError{Path: dir, Recorded: identity.ClusterID, Wanted: opts.ClusterID}
	}
	return identity, nil
}

// parseIdentity looks at the version before anything else: what a newer version
// wrote may look different in all other fields.
func parseIdentity(dir string, data []byte) (Identity, error) {
	path := filepath.Join(dir, identityName)
	var version struct {
		FormatVersion int `json:"format_version"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return Identity{}, &DamagedError{Path: path, Err: err}
	}
	if version.FormatVersion > FormatVersion {
		return Identity{}, &NewerVersionError{Path: dir, Found: version.FormatVersion, Supported: FormatVersion}
	}
	var identity Identity
	if err := parseJSON(data, &identity); err != nil {
		return Identity{}, &DamagedError{Path: path, Err: err}
	}
	if err := identity.validate(); err != nil {
		return Identity{}, &DamagedError{Path: path, Err: err}
	}
	return identity, nil
}

func (id Identity) validate() error {
	uuid := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	switch {
	case id.FormatVersion < 1:
		return fmt.Errorf("format_version is %d", id.FormatVersion)
	case !uuid.MatchString(id.NodeID):
		return fmt.Errorf("node_id %q is no UUID", id.NodeID)
	case !uuid.MatchString(id.ClusterID):
		return fmt.Errorf("cluster_id %q is no UUID", id.ClusterID)
	case id.LogStoreShards == 0 || id.ExecShards == 0:
		return errors.New("the layout of the Raft logs is missing")
	}
	return nil
}

// makeIdentity writes the identity of a new directory. It is the first thing
// written there, so a directory with data but without it has lost it: a new
// identity would then disown the data.
func makeIdentity(dir string, opts Options) (Identity, error) {
	for _, name := range []string{stateName, raftName, replicasName} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return Identity{}, &DamagedError{
				Path: filepath.Join(dir, identityName),
				Err:  fmt.Errorf("it is missing, but %s is there", name),
			}
		}
	}
	identity := Identity{
		FormatVersion: FormatVersion,
		NodeID:        newUUID(),
		ClusterID:     opts.ClusterID,
		Layout: Layout{
			LogStoreShards: cmp.Or(opts.Layout.LogStoreShards, 1),
			ExecShards:     cmp.Or(opts.Layout.ExecShards, 1),
		},
		Created: opts.Now.UTC(),
	}
	if identity.ClusterID == "" {
		identity.ClusterID = newUUID()
	}
	if err := identity.validate(); err != nil {
		return Identity{}, fmt.Errorf("make the node's identity: %w", err)
	}
	if err := writeJSON(dir, identityName, identity); err != nil {
		return Identity{}, fmt.Errorf("write the node's identity: %w", err)
	}
	return identity, nil
}

// newUUID returns a random UUID, version 4.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: the process ends when it would
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
