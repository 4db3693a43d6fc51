// Package storetest gives tests of what stands on a store disks in memory, and
// lets them crash. It is never part of the product.
package storetest

import (
	"math/rand/v2"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/flotillakv/flotilla/shards/store"
)

// A Disk is a disk in memory.
type Disk struct{ fs *vfs.MemFS }

// NewDisk makes an empty disk.
func NewDisk() *Disk { return &Disk{vfs.NewCrashableMem()} }

// Config is how a small store is opened on the disk.
func (d *Disk) Config() store.Config {
	return store.Config{Dir: "state", FS: d.fs, CacheBytes: 1 << 20, MemTableBytes: 256 << 10}
}

// Crash is the disk that a crash would leave now: what was synced, and by
// chance some of what was not.
func (d *Disk) Crash(rng *rand.Rand) *Disk {
	return &Disk{d.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})}
}
