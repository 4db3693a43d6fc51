//go:build !faults

package shards

import "github.com/lni/dragonboat/v4/config"

// logDisk is the file system of the Raft logs: nil is the disk.
func logDisk() config.IFS { return nil }
