package machine

import (
	"container/heap"

	"github.com/flotillakv/flotilla/tenancy"
)

// keptAnswer is where one answer is, and which is the next one of its namespace.
// There are as many as the shard keeps answers, so it has no pointers.
type keptAnswer struct {
	digest requestDigest
	entry  uint64 // the entry whose row holds it
	next   uint32 // its number among all; noAnswer after the newest
	bytes  uint32 // as answerBytes tells
}

// forgottenAnswers is which answers of a namespace are forgotten: those in the entries
// before one, and in this one as many as upTo, the first ones.
type forgottenAnswers struct{ entry, upTo uint64 }

// noAnswer is the number of no answer.
const noAnswer = 0

// keeper is a namespace that keeps answers, oldest first. One without any is gone
// for good: if its namespace keeps answers again, there is another.
type keeper struct {
	// ns is shardRows for the answers that were kept below levelFairAnswers.
	ns             tenancy.NamespaceID
	count          int
	oldest, newest uint32
	// forgotten is how many answers before the oldest one, in the same entry, are
	// forgotten.
	forgotten uint64
	place     int // in the queue
}

// keepers is the kept answers of each namespace, and who keeps the most.
type keepers struct {
	byNamespace map[tenancy.NamespaceID]*keeper
	queue       keeperQueue
	at          map[requestDigest]uint32 // the answer's number; noAnswer in the present entry
	answers     []keptAnswer             // by number
	free        uint32                   // a chain of answers that are forgotten
	count       int
}

func newKeepers() keepers {
	return keepers{
		byNamespace: make(map[tenancy.NamespaceID]*keeper),
		at:          make(map[requestDigest]uint32),
		answers:     make([]keptAnswer, 1), // that of noAnswer
	}
}

// of returns the keeper of a namespace, a new one if need be. It must add answers
// and then be moved.
func (k *keepers) of(ns tenancy.NamespaceID) *keeper {
	one := k.byNamespace[ns]
	if one == nil {
		one = &keeper{ns: ns}
		k.byNamespace[ns] = one
		heap.Push(&k.queue, one)
	}
	return one
}

// moved restores the queue's order after a keeper's count changed.
func (k *keepers) moved(one *keeper) {
	if one.count > 0 {
		heap.Fix(&k.queue, one.place)
		return
	}
	heap.Remove(&k.queue, one.place)
	delete(k.byNamespace, one.ns)
}

// most is the keeper of the most answers.
func (k *keepers) most() *keeper { return k.queue[0] }

func (k *keepers) add(one *keeper, answer keptAnswer) {
	number := k.free
	if number == noAnswer {
		number = uint32(len(k.answers))
		k.answers = append(k.answers, keptAnswer{})
	} else {
		k.free = k.answers[number].next
	}
	k.answers[number] = answer
	k.at[answer.digest] = number
	if one.count == 0 {
		one.oldest = number
	} else {
		k.answers[one.newest].next = number
	}
	one.newest = number
	one.count++
	k.count++
}

// has says whether a keeper of answers in an entry still has those. What it has
// forgotten is older than what it keeps.
func (k *keepers) has(one *keeper, entry uint64) bool {
	return one.count > 0 && k.answers[one.oldest].entry <= entry
}

// forget forgets the oldest answers of a keeper, as many at most and of one entry, and
// returns what is forgotten then, and the bytes of the answers.
func (k *keepers) forget(one *keeper, most int) (f forgottenAnswers, bytes int) {
	f = forgottenAnswers{entry: k.answers[one.oldest].entry, upTo: one.forgotten}
	for ; most > 0 && one.count > 0 && k.answers[one.oldest].entry == f.entry; most-- {
		number := one.oldest
		answer := &k.answers[number]
		delete(k.at, answer.digest)
		bytes += int(answer.bytes)
		one.oldest = answer.next
		one.count--
		k.count--
		*answer = keptAnswer{next: k.free}
		k.free = number
		f.upTo++
	}
	one.forgotten = 0
	if k.has(one, f.entry) {
		one.forgotten = f.upTo
	}
	k.moved(one)
	return f, bytes
}

// firstOf is the place of the first answer that a namespace keeps among its own in an
// entry, if it keeps any of those.
func (k *keepers) firstOf(ns tenancy.NamespaceID, entry uint64) (first uint64, ok bool) {
	one := k.byNamespace[ns]
	if one == nil || !k.has(one, entry) {
		return 0, false
	}
	if k.answers[one.oldest].entry < entry {
		return 0, true
	}
	return one.forgotten, true
}

// ahead is how many answers who keeps the most has more than the next, at least 1.
func (k *keepers) ahead() int {
	next := 0
	for _, one := range k.queue[1:min(3, len(k.queue))] {
		next = max(next, one.count)
	}
	return max(k.queue[0].count-next, 1)
}

// keeperQueue implements heap.Interface. Who keeps the most comes first; of those
// that keep as many, the one with the smallest id, so that all replicas agree.
type keeperQueue []*keeper

func (q keeperQueue) Len() int { return len(q) }

func (q keeperQueue) Less(i, j int) bool {
	if q[i].count != q[j].count {
		return q[i].count > q[j].count
	}
	return q[i].ns < q[j].ns
}

func (q keeperQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push implements heap.Interface.
func (q *keeperQueue) Push(one any) {
	if one, ok := one.(*keeper); ok {
		one.place = len(*q)
		*q = append(*q, one)
	}
}

// Pop implements heap.Interface.
func (q *keeperQueue) Pop() any {
	last := len(*q) - 1
	one := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return one
}
