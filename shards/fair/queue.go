// Package fair shares what is bounded between tenants. A Queue is where the writes of
// many wait for one shard: bounded, first in first out within a tenant, and fair
// between tenants. They are served by their weights, by deficit round robin (Shreedhar
// and Varghese, 1995). A Room is anything that they hold parts of. In both they share
// the room by dynamic thresholds (see Share).
// It is pure; the caller locks.
package fair

import "errors"

// Full says what refused an item; nothing was queued.
var (
	// ErrTenantFull is that the tenant holds what it may; the more others hold, the
	// less that is.
	ErrTenantFull = errors.New("the tenant's queue is full")
	// ErrQueueFull is that others leave too little, for a tenant that holds nothing.
	ErrQueueFull = errors.New("the queue is full")
)

// WeightMax is the greatest weight of a tenant; more counts as this. It bounds what
// others wait for while a tenant has its turn.
const WeightMax = 100

// Config bounds a Queue. Zero fields take the defaults.
type Config struct {
	// Quantum is how much cost a tenant of weight 1 may take each round, in
	// bytes. Default 16 KiB.
	Quantum int
	// TenantItemsMax bounds the items of one tenant. Default 16,384.
	TenantItemsMax int
	// TenantCostMax bounds the cost of one tenant's items, in bytes. One item
	// is accepted whatever its cost. Default 32 MiB.
	TenantCostMax int
	// ItemsMax bounds the items of all tenants, and by Share those of each. Default
	// 65,536.
	ItemsMax int
	// CostMax bounds the cost of all tenants' items likewise, in bytes. Default
	// 128 MiB.
	CostMax int
}

// WithDefaults fills the zero fields.
func (c Config) WithDefaults() Config {
	set := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	set(&c.Quantum, 16<<10)
	set(&c.TenantItemsMax, 16<<10)
	set(&c.TenantCostMax, 32<<20)
	set(&c.ItemsMax, 64<<10)
	set(&c.CostMax, 128<<20)
	return c
}

// A Queue holds items of type T by tenant K.
//
//	F1: a tenant has a line exactly while it has items. It is in the ring, or it is
//	    aside: then its next item could not go when its turn came.
//	F2: a line in the ring gets at least its weight times Quantum of every round,
//	    whatever the others queue; so what two of them took, each divided by its
//	    weight, differs by at most the cost of one item and one quantum.
//	F3: each tenant's items, and their cost, are what Fits lets in. Only a lone item
//	    is taken whatever its cost.
//	F4: the platform has a tenant's own bounds and no others, so tenants cannot shut
//	    it out. All together hold at most the queue's bounds and these.
type Queue[K comparable, T any] struct {
	cfg      Config
	platform K
	lines    map[K]*line[K, T]
	// next is the line whose turn it is, in the ring of lines; nil when it is empty.
	next *line[K, T]
	// aside is the line that was put aside first, in a ring of those that are.
	aside *line[K, T]
	// spare keeps one emptied line for the next tenant that comes, because a
	// lone caller empties and refills its line with every write.
	spare *line[K, T]
	items int
	cost  int
}

type line[K comparable, T any] struct {
	key        K
	prev, next *line[K, T]
	entries    []entry[T] // entries[head:] wait
	head       int
	cost       int
	deficit    int
	weight     int
	// served is whether the line got its quantum in the present turn.
	served bool
	aside  bool
}

type entry[T any] struct {
	item T
	cost int
}

// New makes an empty queue. The platform is the tenant of F4.
func New[K comparable, T any](cfg Config, platform K) *Queue[K, T] {
	return &Queue[K, T]{cfg: cfg.WithDefaults(), platform: platform, lines: make(map[K]*line[K, T])}
}

// Len is the number of items that wait.
func (q *Queue[K, T]) Len() int { return q.items }

// Push adds an item at the end of its tenant's line, or refuses it with
// ErrTenantFull or ErrQueueFull. The line has the weight from then on; 0 is the one
// that it has, and 1 for a new line. Cost must be positive.
func (q *Queue[K, T]) Push(key K, weight int, item T, cost int) error {
	l := q.lines[key]
	if err := q.room(key, l, cost); err != nil {
		return err
	}
	if l == nil {
		l = q.join(key)
	}
	if weight > 0 {
		l.weight = min(weight, WeightMax)
	}
	l.entries = append(l.entries, entry[T]{item, cost})
	l.cost += cost
	q.items++
	q.cost += cost
	return nil
}

// room refuses an item for which there is none. The line is nil for a tenant that
// holds nothing.
func (q *Queue[K, T]) room(key K, l *line[K, T], cost int) error {
	items, held, full := 0, 0, ErrQueueFull
	if l != nil {
		items, held, full = len(l.entries)-l.head, l.cost, ErrTenantFull
	}
	fits := q.items == 0
	if !fits && key == q.platform {
		fits = l == nil || items+1 <= q.cfg.TenantItemsMax && held+cost <= q.cfg.TenantCostMax
	} else if !fits {
		fits = Fits(items, 1, q.items, q.cfg.TenantItemsMax, q.cfg.ItemsMax) && Fits(held, cost, q.cost, q.cfg.TenantCostMax, q.cfg.CostMax)
	}
	if !fits {
		return full
	}
	return nil
}

// Take appends to dst the items that go next, at most itemsMax of them and,
// unless a single item is larger, of at most costMax in all.
func (q *Queue[K, T]) Take(dst []T, itemsMax, costMax int) []T {
	return q.TakeIf(dst, itemsMax, costMax, func(T) bool { return true })
}

// TakeIf is Take of those items that may go, of which each is asked once, when it is
// its turn. A line whose next item may not is put aside until it is resumed, and holds
// nobody up.
func (q *Queue[K, T]) TakeIf(dst []T, itemsMax, costMax int, may func(T) bool) []T {
	taken := 0
	for first := true; q.next != nil && itemsMax > 0; {
		l := q.next
		if !l.served {
			l.deficit += l.weight * q.cfg.Quantum
			l.served = true
		}
		for l.head < len(l.entries) && itemsMax > 0 {
			e := &l.entries[l.head]
			if e.cost > l.deficit {
				break
			}
			if !first && taken+e.cost > costMax {
				return dst
			}
			if !may(e.item) {
				q.putAside(l)
				break
			}
			first = false
			dst = append(dst, e.item)
			taken += e.cost
			itemsMax--
			l.deficit -= e.cost
			q.drop(l, e)
		}
		switch {
		case l.head == len(l.entries):
			q.leave(l)
		case !l.aside && itemsMax > 0: // its deficit is used up: the next line's turn
			l.served = false
			q.next = l.next
		}
	}
	return dst
}

// drop removes the entry at the line's head.
func (q *Queue[K, T]) drop(l *line[K, T], e *entry[T]) {
	l.cost -= e.cost
	q.cost -= e.cost
	q.items--
	*e = entry[T]{} // lets the item be collected
	l.head++
	if l.head >= 1024 && l.head*2 >= len(l.entries) {
		kept := copy(l.entries, l.entries[l.head:])
		clear(l.entries[kept:])
		l.entries, l.head = l.entries[:kept], 0
	}
}

// join puts a new line at the end of the round: just before next.
func (q *Queue[K, T]) join(key K) *line[K, T] {
	l := q.spare
	if l == nil {
		l = &line[K, T]{}
	}
	q.spare = nil
	l.key, l.weight = key, 1
	q.lines[key] = l
	q.next = q.next.before(l)
	return l
}

// leave takes an emptied line out of the ring. What is left of its deficit is
// lost: an idle tenant saves nothing up.
func (q *Queue[K, T]) leave(l *line[K, T]) {
	delete(q.lines, l.key)
	q.next = q.next.without(l)
	entries := l.entries[:0]
	if cap(entries) > 4096 {
		entries = nil
	}
	*l = line[K, T]{entries: entries}
	q.spare = l
}
