package machine

import (
	"cmp"
	"slices"
)

// keptEntry is a log entry whose row holds kept answers.
type keptEntry struct {
	index  uint64
	timeMS uint64
	// stored is the bytes of all answers in the row, kept of those that are kept; see
	// answerBytes. Invariant: 0 < kept <= stored.
	stored, kept int
	keepers      []*keeper // those of its answers; some may have forgotten theirs
}

// keptEntries is the entries with kept answers, oldest first.
type keptEntries struct {
	all  []keptEntry // some of them gone: kept is 0
	head int         // those before it are gone
	gone int         // how many are, with those before head
	// stored and kept are the sums of theirs.
	stored, kept int
}

// push adds the newest entry.
func (k *keptEntries) push(e keptEntry) {
	k.all = append(k.all, e)
	k.stored, k.kept = k.stored+e.stored, k.kept+e.kept
}

// find returns the entry with an index, which must be there. It is valid until the
// next push or remove.
func (k *keptEntries) find(index uint64) *keptEntry {
	i, _ := slices.BinarySearchFunc(k.all[k.head:], index, func(e keptEntry, index uint64) int {
		return cmp.Compare(e.index, index)
	})
	return &k.all[k.head+i]
}

// oldest returns the first entry, or nil. It is valid until the next push or remove.
func (k *keptEntries) oldest() *keptEntry {
	for k.head < len(k.all) {
		if e := &k.all[k.head]; e.kept > 0 {
			return e
		}
		k.head++
	}
	return nil
}

// forget notes that so many bytes of an entry's are forgotten. It says whether its
// row is to be cut: when much of all that is stored is forgotten, and most of that row.
func (k *keptEntries) forget(e *keptEntry, bytes int) (cut bool) {
	e.kept -= bytes
	k.kept -= bytes
	return k.stored > storedSlack*k.kept && e.stored > rowSlack*e.kept
}

// cut notes that only what is kept of an entry's is still stored.
func (k *keptEntries) cut(e *keptEntry) {
	k.stored -= e.stored - e.kept
	e.stored = e.kept
}

// What may be stored that is forgotten, as multiples of what is kept: of all answers,
// and of a row's. Most rows of namespaces that write alike go before they are cut.
const (
	storedSlack = 2
	rowSlack    = 4
)

// entriesGoneMin is from how many entries on that are gone the memory of all is
// tidied up, if they are half of them.
const entriesGoneMin = 1024

// remove takes an entry out.
func (k *keptEntries) remove(e *keptEntry) {
	k.stored, k.kept = k.stored-e.stored, k.kept-e.kept
	*e = keptEntry{index: e.index}
	k.gone++
	if k.gone >= entriesGoneMin && k.gone*2 >= len(k.all) {
		k.all = slices.DeleteFunc(k.all, func(e keptEntry) bool { return e.kept == 0 })
		k.head, k.gone = 0, 0
	}
}
