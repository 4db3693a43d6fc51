//go:build faults

package shards

import (
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/vfs"

	"github.com/flotillakv/flotilla/shards/fault"
)

// logDisk is the disk, which may be slow.
func logDisk() config.IFS { return vfs.Wrap(vfs.Default, slow{}) }

// slow is an injector whose error is that syncs are late.
type slow struct{}

// MaybeError implements vfs.Injector.
func (slow) MaybeError(op vfs.Op) error {
	if op == vfs.OpSync {
		fault.BeforeSync()
	}
	return nil
}
