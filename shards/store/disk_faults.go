//go:build faults

package store

import (
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/flotillakv/flotilla/shards/fault"
)

// disk is the disk, which may be slow.
func disk() vfs.FS { return errorfs.Wrap(vfs.Default, slow{}) }

// slow is an injector whose error is that syncs are late.
type slow struct{}

// String implements errorfs.Injector.
func (slow) String() string { return "slow" }

// MaybeError implements errorfs.Injector.
func (slow) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		fault.BeforeSync()
	default:
	}
	return nil
}
