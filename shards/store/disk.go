//go:build !faults

package store

import "github.com/cockroachdb/pebble/v2/vfs"

// disk is the file system of a store that was given none.
func disk() vfs.FS { return vfs.Default }
