package store

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// recents tells which keys may be in memory only. Looking a key up in a full
// memtable costs several times what a table with a filter costs, and most keys
// looked up are in none. So lookups of keys that were not written lately skip
// the memtables.
//
// Keys are remembered by generations. A flush seals the present one before it
// begins and drops what was sealed when it succeeded. So:
//
//	A key that is in no generation at some moment has all its committed rows
//	in tables at that moment.
//
// The keys of a namespace that was dropped were written all at once in this sense,
// so the generation has the beginning that they share.
//
// That needs a key to be in a generation before it is committed, and a commit
// not to straddle the sealing: it would leave its keys in a generation that a
// flush drops which did not write them. The lock sees to the latter.
type recents struct {
	seed      maphash.Seed
	keysBytes int // size of a generation

	committing sync.RWMutex // held for reading from adding keys to having committed, for writing to seal
	// generations is replaced as a whole, oldest first; the last one grows.
	generations atomic.Pointer[[]*recentKeys]
}

func newRecents(memTableBytes uint64) *recents {
	// Rows of 100 bytes have 32 bits each then, larger ones more.
	r := &recents{seed: maphash.MakeSeed(), keysBytes: max(int(memTableBytes/32), 4096)}
	r.generations.Store(&[]*recentKeys{newRecentKeys(r.keysBytes)})
	return r
}

func (r *recents) hash(prefix []byte) uint64 { return maphash.Bytes(r.seed, prefix) }

// commit runs a commit of keys with the hashes, in which namespaces are dropped. It
// returns how many bytes were committed since the last sealing.
func (r *recents) commit(entries []overlayEntry, dropped []droppedNamespace, bytes int, commit func() error) (int64, error) {
	r.committing.RLock()
	defer r.committing.RUnlock()
	generations := *r.generations.Load()
	present := generations[len(generations)-1]
	for i := range entries {
		present.add(entries[i].hash)
	}
	for i := range dropped {
		present.add(r.hash(dropped[i][:]))
		present.drops.Store(true)
	}
	return present.bytes.Add(int64(bytes)), commit()
}

// seal begins a new generation, for a flush that begins afterwards.
func (r *recents) seal() {
	r.committing.Lock()
	defer r.committing.Unlock()
	old := *r.generations.Load()
	generations := make([]*recentKeys, len(old), len(old)+1)
	copy(generations, old)
	generations = append(generations, newRecentKeys(r.keysBytes))
	r.generations.Store(&generations)
}

// dropSealed forgets what is sealed, when a flush that began afterwards
// succeeded.
func (r *recents) dropSealed() {
	old := *r.generations.Load()
	r.generations.Store(&[]*recentKeys{old[len(old)-1]})
}

// recentKeys is a Bloom filter of the hashes of keys, with all bits of a key
// in one word: a lookup then costs one cache miss. Safe for concurrent use.
type recentKeys struct {
	words []atomic.Uint64 // a power of two of them
	bytes atomic.Int64    // committed, not of the filter
	// drops is set once the filter has beginnings of keys too: those of namespaces
	// that were dropped.
	drops atomic.Bool
}

func newRecentKeys(bytes int) *recentKeys {
	words := 1
	for words*8 < bytes {
		words *= 2
	}
	return &recentKeys{words: make([]atomic.Uint64, words)}
}

// place returns a hash's word and its four bits there. The word is chosen by
// bits that do not choose the others.
func (k *recentKeys) place(hash uint64) (word int, bits uint64) {
	bits = 1<<(hash&63) | 1<<(hash>>6&63) | 1<<(hash>>12&63) | 1<<(hash>>18&63)
	return int(hash>>24) & (len(k.words) - 1), bits
}

func (k *recentKeys) add(hash uint64) {
	word, bits := k.place(hash)
	if k.words[word].Load()&bits != bits {
		k.words[word].Or(bits)
	}
}

func (k *recentKeys) has(hash uint64) bool {
	word, bits := k.place(hash)
	return k.words[word].Load()&bits == bits
}

// lookups finds rows in one consistent state of a shard.
type lookups struct {
	recent  []*recentKeys
	all     *pebble.Iterator
	flushed *pebble.Iterator // over the tables only; nil until it is needed
}

// newLookups opens lookups of the present state.
func (sh *Shard) newLookups() (lookups, error) {
	options := sh.iterOptions()
	return sh.store.recents.lookups(func() (*pebble.Iterator, error) { return sh.store.db.NewIter(&options) })
}

// lookups opens an iterator over the present state and pins the generations
// that belong to it.
func (r *recents) lookups(open func() (*pebble.Iterator, error)) (lookups, error) {
	for {
		generations := r.generations.Load()
		all, err := open()
		if err != nil {
			return lookups{}, err
		}
		// A generation that began meanwhile may have keys that are in memory
		// now; and one that was dropped meanwhile does no harm.
		if r.generations.Load() == generations {
			return lookups{recent: *generations, all: all}, nil
		}
		if err := all.Close(); err != nil {
			return lookups{}, err
		}
	}
}

// iterator returns the iterator to look a key up with.
func (l *lookups) iterator(sh *Shard, prefix []byte, hash uint64) (*pebble.Iterator, error) {
	for _, keys := range l.recent {
		if keys.has(hash) || keys.drops.Load() && keys.has(sh.store.recents.hash(prefix[:namespaceBytes])) {
			return l.all, nil
		}
	}
	if l.flushed == nil {
		options := sh.iterOptions()
		options.OnlyReadGuaranteedDurable = true // the tables of the same state
		var err error
		if l.flushed, err = l.all.Clone(pebble.CloneOptions{IterOptions: &options}); err != nil {
			return nil, err
		}
	}
	return l.flushed, nil
}

func (l *lookups) close() error {
	if l.all == nil {
		return nil
	}
	err := l.all.Close()
	if l.flushed != nil {
		if closeErr := l.flushed.Close(); err == nil {
			err = closeErr
		}
	}
	*l = lookups{}
	return err
}
