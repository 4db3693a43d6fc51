package route

import (
	"cmp"
	"slices"

	"github.com/flotillakv/flotilla/tenancy"
)

// An order keeps the single-key operations of one pipeline in their order per
// key. Writes keep theirs among themselves, because they enter the shard's log
// in the order of their submission to its leader; reads may overtake each other;
// but a read must not overtake a write of its key, nor a write a read, nor a write
// to one node a write to another.
//
// A write that was refused may be tried again, unless a later one of its key was
// not: it would be applied in the wrong order. So it waits for those that run,
// and later ones wait for it.
//
// It knows only the keys of operations on their way. Not safe for concurrent
// use.
type order struct {
	keys map[orderKey]*keyOrder
	// spare is reused, because most keys come and go at once.
	spare []*keyOrder
	// places counts the operations.
	places uint64
}

type orderKey struct {
	namespace tenancy.NamespaceID // not its name: a request may leave out the default one's
	key       string
}

// keyOrder is a key's operations on their way: of one kind at a time, while
// the others wait in line.
type keyOrder struct {
	writes  bool // whether those that run are writes
	node    string
	running int
	// releasing is whether some of those that run are only about to be submitted,
	// which others of the key must not overtake.
	releasing bool
	// again is how many of those that run were refused before.
	again int
	line  []*operation
	// refused are writes that may be tried again, in their order.
	refused []*operation
	// passed is the place of the last write that is not to be tried again: those
	// before it are not either.
	passed uint64
}

// released is what the end of an operation has others do.
type released struct {
	// run may run now, in their order; submitted is to be called when they do.
	run []*operation
	// again are writes that were refused and may be tried again, in their order.
	again []*operation
	// dropped are writes that were refused and may not.
	dropped []*operation
}

func newOrder() *order { return &order{keys: make(map[orderKey]*keyOrder)} }

// begin tells whether the operation may run now; otherwise it is in line, and
// a later end returns it.
func (o *order) begin(op *operation) bool {
	k, ok := o.keys[op.orderKey]
	if !ok {
		k = o.fresh()
		o.keys[op.orderKey] = k
	}
	o.places++
	op.place = o.places
	if !k.admits(op) {
		k.line = append(k.line, op)
		return false
	}
	k.writes, k.node = op.isWrite(), op.node
	k.running++
	return true
}

// admits tells whether an operation may run beside those that do.
func (k *keyOrder) admits(op *operation) bool {
	switch {
	case len(k.line) > 0 || len(k.refused) > 0 || k.again > 0 || k.releasing:
		return false
	case k.running == 0:
		return true
	default:
		return k.writes == op.isWrite() && (!k.writes || k.node == op.node)
	}
}

// end notes that an operation was answered.
func (o *order) end(op *operation) released {
	k := o.keys[op.orderKey]
	k.running--
	if op.isWrite() {
		k.passed = max(k.passed, op.place)
	}
	if op.again {
		k.again--
	}
	return o.proceed(op.orderKey, k)
}

// refuse notes that a write was refused, and may be tried again as far as it is
// concerned.
func (o *order) refuse(op *operation) released {
	k := o.keys[op.orderKey]
	k.running--
	if op.again {
		op.again = false
		k.again--
	}
	at, _ := slices.BinarySearchFunc(k.refused, op, func(a, b *operation) int { return cmp.Compare(a.place, b.place) })
	k.refused = slices.Insert(k.refused, at, op)
	return o.proceed(op.orderKey, k)
}

// submitted notes that those of a key that were released are on their way, writes
// to a node.
func (o *order) submitted(key orderKey, node string) released {
	k := o.keys[key]
	k.releasing, k.node = false, node
	return o.proceed(key, k)
}

// proceed tells what runs next, if nothing does.
func (o *order) proceed(key orderKey, k *keyOrder) (next released) {
	switch {
	case k.running > 0 || k.releasing:
	case len(k.refused) > 0:
		for _, op := range k.refused {
			if op.place < k.passed {
				next.dropped = append(next.dropped, op)
				continue
			}
			op.again = true
			next.again = append(next.again, op)
		}
		k.refused = nil
		k.again = len(next.again)
		k.running = len(next.again) + len(next.dropped)
	case len(k.line) == 0:
		delete(o.keys, key)
		o.spare = append(o.spare, k)
	default:
		k.writes = k.line[0].isWrite()
		for len(k.line) > 0 && k.line[0].isWrite() == k.writes {
			next.run = append(next.run, k.line[0])
			k.line = k.line[1:]
			k.running++
		}
		k.releasing = true
	}
	return next
}

func (o *order) fresh() *keyOrder {
	if n := len(o.spare); n > 0 {
		k := o.spare[n-1]
		o.spare = o.spare[:n-1]
		*k = keyOrder{line: k.line[:0]}
		return k
	}
	return &keyOrder{}
}
