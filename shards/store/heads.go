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
// So it cannot serve views. A version that is written is its key's head, because
// versions are written in the order of their revisions (see mvcc.Writer).
//
// A key is known by 96 bits of two hashes with secret seeds, not by its bytes:
// of 2^90 comparisons of different keys one is expected to go wrong. It is one
// array without pointers, which grows with the keys up to its bound; then what
// does not fit replaces what was not used for long.
//
// Safe for concurrent use: shards share it.
type heads struct {
	seed       maphash.Seed
	bucketsMax int

	resize  sync.RWMutex // held for writing while buckets are replaced
	locks   [headLocks]headLock
	buckets []headBucket
}

const (
	// headWays is how many heads a bucket holds. More make a look-up longer,
	// fewer let some buckets overflow while others are half empty.
	headWays = 8
	// headLocks is among how many locks the buckets are divided.
	headLocks = 64
	// headBucketsMin is how many buckets there are at first, and headGrowth by
	// how much they become more: growing takes some milliseconds each time.
	headBucketsMin = 2 * headLocks
	headGrowth     = 4
	// A bucket's share of heads from which on there are to be more buckets: few
	// overflow before.
	headsPerBucket = 5
)

type headLock struct {
	sync.Mutex
	used int      // heads in its buckets
	_    [48]byte // locks of different shards' keys share no cache line
}

// headBucket has the tags in front, so that a look-up reads one cache line of
// them and one of the head that it finds.
type headBucket struct {
	tags   [headWays]uint64 // 0 is a free place
	heads  [headWays]headEntry
	recent uint8 // a bit for each place that was used since hand passed it
	hand   uint8
}

type headEntry struct {
	mod, create, version uint64
	lease                int64
	valueBytes           uint32
	tag                  uint32
}

const headBucketBytes = headWays*(8+40) + 8

func newHeads(bytes int64) *heads {
	return &heads{
		seed: maphash.MakeSeed(), bucketsMax: max(int(bytes/headBucketBytes), headBucketsMin),
		buckets: make([]headBucket, headBucketsMin),
	}
}

// headKey is what a key is known by. Its tag tells its bucket.
type headKey struct {
	tag   uint64
	short uint32
}

// key makes a key's headKey of its prefix, and of recents' hash of that.
func (h *heads) key(prefix []byte, hash uint64) headKey {
	return headKey{tag: max(maphash.Bytes(h.seed, prefix), 1), short: uint32(hash)}
}

// find returns a key's head, if it is known.
func (h *heads) find(k headKey) (mvcc.Head, bool) {
	h.resize.RLock()
	defer h.resize.RUnlock()
	b, lock := h.bucket(k)
	lock.Lock()
	defer lock.Unlock()
	i := b.place(k)
	if i < 0 {
		return mvcc.Head{}, false
	}
	b.recent |= 1 << i
	e := &b.heads[i]
	return mvcc.Head{
		Exists: true, ModRevision: mvcc.Revision(e.mod), CreateRevision: mvcc.Revision(e.create),
		Version: e.version, Lease: e.lease, ValueBytes: int(e.valueBytes),
	}, true
}

// isAt tells whether a key's head is known to be of the revision. It does not
// count as a use.
func (h *heads) isAt(k headKey, rev mvcc.Revision) bool {
	h.resize.RLock()
	defer h.resize.RUnlock()
	b, lock := h.bucket(k)
	lock.Lock()
	defer lock.Unlock()
	i := b.place(k)
	return i >= 0 && b.heads[i].mod == uint64(rev)
}

// keep remembers a key's head. A key that does not exist is forgotten: it is
// found in no table, which the filters tell without reading any.
func (h *heads) keep(k headKey, head mvcc.Head) {
	if h.keepUnlessFull(k, head) {
		return
	}
	h.grow()
	h.keepUnlessFull(k, head) // if it is full again, the next one makes it grow
}

// keepUnlessFull tells whether there was no need for more buckets.
func (h *heads) keepUnlessFull(k headKey, head mvcc.Head) bool {
	h.resize.RLock()
	defer h.resize.RUnlock()
	b, lock := h.bucket(k)
	lock.Lock()
	defer lock.Unlock()
	i := b.place(k)
	if !head.Exists {
		if i >= 0 {
			b.tags[i] = 0
			lock.used--
		}
		return true
	}
	if i < 0 {
		i = b.room(lock)
	}
	b.tags[i] = k.tag
	b.heads[i] = headEntry{
		mod: uint64(head.ModRevision), create: uint64(head.CreateRevision), version: head.Version,
		lease: head.Lease, valueBytes: uint32(head.ValueBytes), tag: k.short,
	}
	b.recent |= 1 << i
	return len(h.buckets) >= h.bucketsMax || lock.used < len(h.buckets)/headLocks*headsPerBucket
}

// forget takes a key out.
func (h *heads) forget(k headKey) { h.keep(k, mvcc.Head{}) }

// grow makes more buckets.
func (h *heads) grow() {
	h.resize.Lock()
	defer h.resize.Unlock()
	old := h.buckets
	if len(old) >= h.bucketsMax {
		return // somebody else did
	}
	h.buckets = make([]headBucket, min(len(old)*headGrowth, h.bucketsMax))
	for i := range h.locks {
		h.locks[i].used = 0
	}
	for i := range old {
		for j, tag := range old[i].tags {
			if tag == 0 {
				continue
			}
			e := old[i].heads[j]
			b, lock := h.bucket(headKey{tag: tag})
			place := b.room(lock)
			b.tags[place], b.heads[place] = tag, e
		}
	}
}

// clear takes all keys out, and gives the memory back.
func (h *heads) clear() {
	h.resize.Lock()
	defer h.resize.Unlock()
	h.buckets = make([]headBucket, headBucketsMin)
	for i := range h.locks {
		h.locks[i].used = 0
	}
}

// bucket is where a key is, and the lock of that.
func (h *heads) bucket(k headKey) (*headBucket, *headLock) {
	i, _ := bits.Mul64(k.tag, uint64(len(h.buckets))) // as evenly as the tags
	return &h.buckets[i], &h.locks[i%headLocks]
}

// place is where a key is, or -1.
func (b *headBucket) place(k headKey) int {
	for i, tag := range b.tags {
		if tag == k.tag && b.heads[i].tag == k.short {
			return i
		}
	}
	return -1
}

// room is a free place, which is counted, or that of a key which was not used
// since the hand passed it last.
func (b *headBucket) room(lock *headLock) int {
	for i, tag := range b.tags {
		if tag == 0 {
			lock.used++
			return i
		}
	}
	for {
		i := b.hand
		b.hand = (b.hand + 1) % headWays
		if b.recent&(1<<i) == 0 {
			return int(i)
		}
		b.recent &^= 1 << i
	}
}
