package store

import (
	"hash/maphash"
	"math/bits"
	"sync"

	"github.com/flotillakv/flotilla/shards/mvcc"
)

// heads remembers the heads of the keys that were written or looked up last, so
// that a put of a key that it knows reads nothing. Finding the version that a
// put replaces was three fifths of applying one: a seek through all levels, and
// mostly a block from disk, for a dozen bytes.
//
// It shows the state of each shard's open batch, which is the only one that
// changes or asks it (S4): a batch that is given up takes its keys out again.
// So it cannot serve views.
//
// A key is known by 112 bits and more of two hashes with secret seeds, not by
// its bytes: two keys are mistaken for each other once in 2^100 comparisons.
// It is one array without pointers, whose size is set; what does not fit
// replaces what was not used for long.
//
// Safe for concurrent use: shards share it.
type heads struct {
	seed    maphash.Seed
	locks   [headLocks]headLock
	buckets []headBucket
}

// headWays is how many heads a bucket holds. More make a look-up longer, fewer
// let some buckets overflow while others are half empty.
const headWays = 8

const headLocks = 64

type headLock struct {
	sync.Mutex
	_ [56]byte // locks of different shards' keys share no cache line
}

// headBucket has the tags in front, so that a look-up reads one cache line of
// them and one of the head that it finds.
type headBucket struct {
	tags [headWays]uint64 // 0 is a free place
	rest [headWays]headEntry
	used uint8 // a bit for each place that was used since hand passed it
	hand uint8
}

type headEntry struct {
	mod, create, version uint64
	lease                int64
	valueBytes           uint32
	tag                  uint32
}

const headBucketBytes = headWays*(8+40) + 8

func newHeads(bytes int64) *heads {
	return &heads{seed: maphash.MakeSeed(), buckets: make([]headBucket, max(bytes/headBucketBytes, 1))}
}

// headKey is what a key is known by, and where.
type headKey struct {
	bucket uint64
	tag    uint64
	short  uint32
}

// key makes a key's headKey of its prefix, and of recents' hash of that.
func (h *heads) key(prefix []byte, hash uint64) headKey {
	bucket, rest := bits.Mul64(hash, uint64(len(h.buckets)))
	return headKey{bucket: bucket, tag: max(maphash.Bytes(h.seed, prefix), 1), short: uint32(rest >> 32)}
}

// find returns a key's head, if it is known.
func (h *heads) find(k headKey) (mvcc.Head, bool) {
	lock := &h.locks[k.bucket%headLocks]
	lock.Lock()
	defer lock.Unlock()
	b := &h.buckets[k.bucket]
	i := b.place(k)
	if i < 0 {
		return mvcc.Head{}, false
	}
	b.used |= 1 << i
	e := &b.rest[i]
	return mvcc.Head{
		Exists: true, ModRevision: mvcc.Revision(e.mod), CreateRevision: mvcc.Revision(e.create),
		Version: e.version, Lease: e.lease, ValueBytes: int(e.valueBytes),
	}, true
}

// keep remembers a key's head. A key that does not exist is forgotten: it is
// found in no table, which the filters tell without reading any.
func (h *heads) keep(k headKey, head mvcc.Head) {
	lock := &h.locks[k.bucket%headLocks]
	lock.Lock()
	defer lock.Unlock()
	b := &h.buckets[k.bucket]
	i := b.place(k)
	if !head.Exists {
		if i >= 0 {
			b.tags[i] = 0
		}
		return
	}
	if i < 0 {
		i = b.room()
	}
	b.tags[i] = k.tag
	b.rest[i] = headEntry{
		mod: uint64(head.ModRevision), create: uint64(head.CreateRevision), version: head.Version,
		lease: head.Lease, valueBytes: uint32(head.ValueBytes), tag: k.short,
	}
	b.used |= 1 << i
}

// forget takes a key out.
func (h *heads) forget(k headKey) { h.keep(k, mvcc.Head{}) }

// clear takes all keys out.
func (h *heads) clear() {
	for i := range h.buckets {
		lock := &h.locks[i%headLocks]
		lock.Lock()
		h.buckets[i].tags = [headWays]uint64{}
		lock.Unlock()
	}
}

// place is where a key is, or -1.
func (b *headBucket) place(k headKey) int {
	for i, tag := range b.tags {
		if tag == k.tag && b.rest[i].tag == k.short {
			return i
		}
	}
	return -1
}

// room is a free place, or that of a key which was not used since the hand
// passed it last.
func (b *headBucket) room() int {
	for i, tag := range b.tags {
		if tag == 0 {
			return i
		}
	}
	for {
		i := b.hand
		b.hand = (b.hand + 1) % headWays
		if b.used&(1<<i) == 0 {
			return int(i)
		}
		b.used &^= 1 << i
	}
}
