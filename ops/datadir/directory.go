package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protojson"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

const (
	directoryName = "directory.json"
	// directoryVersion is the format of the file.
	directoryVersion = 1
)

type directoryFile struct {
	FormatVersion int             `json:"format_version"`
	Directory     json.RawMessage `json:"directory"`
}

// SaveDirectory keeps, durably, what the node knows of the others, so that it
// finds them again before it can read the catalog.
func (d *Dir) SaveDirectory(directory *internalv1.Directory) error {
	text, err := protojson.Marshal(directory)
	if err != nil {
		return fmt.Errorf("save the directory of nodes: %w", err)
	}
	if err := writeJSON(d.path, directoryName, directoryFile{FormatVersion: directoryVersion, Directory: text}); err != nil {
		return fmt.Errorf("save the directory of nodes: %w", err)
	}
	return nil
}

// LoadDirectory returns what SaveDirectory kept; it knows nothing if there is no
// file, or one that this version cannot read: the others tell it anew.
func (d *Dir) LoadDirectory() (*internalv1.Directory, error) {
	directory := &internalv1.Directory{}
	data, err := os.ReadFile(filepath.Join(d.path, directoryName))
	if errors.Is(err, fs.ErrNotExist) {
		return directory, nil
	}
	var file directoryFile
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err == nil && file.FormatVersion != directoryVersion {
		err = fmt.Errorf("it has format version %d, this version knows %d", file.FormatVersion, directoryVersion)
	}
	if err == nil {
		err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(file.Directory, directory)
	}
	if err != nil {
		return &internalv1.Directory{}, fmt.Errorf("load the directory of nodes: %w", err)
	}
	return directory, nil
}
