package machine

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"

	"github.com/flotillakv/flotilla/tenancy"
)

// leaseName tells a lease from all others of the shard.
type leaseName struct {
	ns tenancy.NamespaceID
	id int64
}

// leaseTable is the shard's leases in memory: a cache of the rows of
// TableLeases, about 150 bytes each, with the order in which they end.
//
// Renewing a lease does not touch the queue. So a lease's place in it is its
// deadline at some time in the past, never later than its deadline now; who
// comes to the front too early goes back to where it belongs. Which lease ends
// first depends on deadlines and names alone, never on how the queue came to be
// (R4): a replica that loads the rows has another queue, with the same leases
// in the same order at its front.
type leaseTable struct {
	byName map[leaseName]leaseSlot
	held   []heldLease // by slot
	free   []leaseSlot
	queue  leaseQueue
}

// leaseSlot is the index of a lease in the table, so that neither the map nor
// the queue has pointers for the garbage collector to follow.
type leaseSlot uint32

type heldLease struct {
	Lease
	name leaseName
	// queuedMS is the lease's place in the queue; 0 while it has none. Other
	// places of the same slot are of a lease that ended before.
	queuedMS uint64
}

func newLeaseTable() *leaseTable { return &leaseTable{byName: make(map[leaseName]leaseSlot)} }

// load reads the table from the rows.
func (t *leaseTable) load(rows Rows) error {
	it := rows.Rows(TableLeases, shardRows, nil, nil)
	for it.Next() {
		row, err := it.Value()
		if err != nil {
			return errJoinClose(it, fmt.Errorf("load the leases: %w", err))
		}
		var name leaseName
		if name.ns, name.id, err = DecodeLeaseKey(it.Key()); err != nil {
			return errJoinClose(it, err)
		}
		l, err := DecodeLease(row)
		if err != nil {
			return errJoinClose(it, err)
		}
		t.queue = append(t.queue, t.take(name, l))
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("load the leases: %w", err)
	}
	heap.Init(&t.queue)
	return nil
}

// find returns a lease, nil if there is none. It is valid until the next add;
// its deadline may only be moved forward.
func (t *leaseTable) find(name leaseName) *heldLease {
	slot, ok := t.byName[name]
	if !ok {
		return nil
	}
	return &t.held[slot]
}

// add adds a lease that is not in the table.
func (t *leaseTable) add(name leaseName, l Lease) { heap.Push(&t.queue, t.take(name, l)) }

// take gives a lease a slot, and returns its place for the queue.
func (t *leaseTable) take(name leaseName, l Lease) leasePlace {
	slot := leaseSlot(len(t.held))
	if last := len(t.free) - 1; last >= 0 {
		slot, t.free = t.free[last], t.free[:last]
	} else {
		t.held = append(t.held, heldLease{})
	}
	t.byName[name] = slot
	t.held[slot] = heldLease{Lease: l, name: name, queuedMS: l.DeadlineMS}
	return leasePlace{l.DeadlineMS, name, slot}
}

// remove takes a lease out. Its place in the queue is dropped when it comes to
// the front, or with all such places once they are most.
func (t *leaseTable) remove(name leaseName) {
	slot, ok := t.byName[name]
	if !ok {
		return
	}
	delete(t.byName, name)
	t.held[slot] = heldLease{}
	t.free = append(t.free, slot)
	if len(t.queue) < 2*len(t.byName)+leasePlacesMin {
		return
	}
	t.queue = slices.DeleteFunc(t.queue, func(p leasePlace) bool { return !t.current(p) })
	heap.Init(&t.queue)
}

// leasePlacesMin is how many places of ended leases are kept in any case.
const leasePlacesMin = 1024

// current tells whether a place in the queue is its lease's present one.
func (t *leaseTable) current(p leasePlace) bool {
	held := &t.held[p.slot]
	return held.queuedMS == p.atMS && held.name == p.name
}

// settle brings the lease that ends first to the front, if that is at most
// clockMS or takes few steps, and returns from when on a lease may have to end;
// ok is false if there is none.
func (t *leaseTable) settle(clockMS uint64) (atMS uint64, ok bool) {
	const stepsMax = 4
	for steps := 0; len(t.queue) > 0; steps++ {
		front := &t.queue[0]
		held := &t.held[front.slot]
		switch {
		case !t.current(*front):
			heap.Pop(&t.queue)
		case held.DeadlineMS == front.atMS || (front.atMS > clockMS && steps >= stepsMax):
			return front.atMS, true
		default: // it was renewed
			held.queuedMS, front.atMS = held.DeadlineMS, held.DeadlineMS
			heap.Fix(&t.queue, 0)
		}
	}
	return 0, false
}

// takeDue takes the place of the lease that ends first out of the queue, if its
// deadline is at most clockMS: the earliest deadline first, then the least
// name. It returns nil if there is none.
func (t *leaseTable) takeDue(clockMS uint64) *heldLease {
	if atMS, ok := t.settle(clockMS); !ok || atMS > clockMS {
		return nil
	}
	held := &t.held[t.queue[0].slot]
	held.queuedMS = 0
	heap.Pop(&t.queue)
	return held
}

// putBack gives a lease that takeDue returned its place again.
func (t *leaseTable) putBack(held *heldLease) {
	held.queuedMS = held.DeadlineMS
	heap.Push(&t.queue, leasePlace{held.DeadlineMS, held.name, t.byName[held.name]})
}

// leasePlace is a lease's place in the queue. It has the name too: slots are
// used again, and the order of places must not change by that.
type leasePlace struct {
	atMS uint64
	name leaseName
	slot leaseSlot
}

// leaseQueue implements heap.Interface.
type leaseQueue []leasePlace

func (q leaseQueue) Len() int { return len(q) }

func (q leaseQueue) Less(i, j int) bool {
	a, b := &q[i], &q[j]
	if a.atMS != b.atMS {
		return a.atMS < b.atMS
	}
	return cmp.Or(cmp.Compare(a.name.ns, b.name.ns), cmp.Compare(a.name.id, b.name.id)) < 0
}

func (q leaseQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *leaseQueue) Push(place any) {
	if p, ok := place.(leasePlace); ok {
		*q = append(*q, p)
	}
}

// Pop implements heap.Interface.
func (q *leaseQueue) Pop() any {
	last := len(*q) - 1
	p := (*q)[last]
	*q = (*q)[:last]
	return p
}
