package route

import "github.com/flotillakv/flotilla/tenancy"

// An order keeps the single-key operations of one pipeline in their order per
// key. Writes keep theirs among themselves, because they enter the shard's log
// in the order of their submission; reads may overtake each other; but a read
// must not overtake a write of its key, nor a write a read.
//
// It knows only the keys of operations on their way. Not safe for concurrent
// use.
type order struct {
	keys map[orderKey]*keyOrder
	// spare is reused, because most keys come and go at once.
	spare []*keyOrder
}

type orderKey struct {
	namespace tenancy.NamespaceID // not its name: a request may leave out the default one's
	key       string
}

// keyOrder is a key's operations on their way: of one kind at a time, while
// the others wait in line.
type keyOrder struct {
	writes  bool // whether those that run are writes
	running int
	line    []*operation
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
	if len(k.line) > 0 || (k.running > 0 && k.writes != op.isWrite()) {
		k.line = append(k.line, op)
		return false
	}
	k.writes = op.isWrite()
	k.running++
	return true
}

// end notes that an operation was answered, and appends to next those that may
// run now, in their order.
func (o *order) end(op *operation, next []*operation) []*operation {
	k := o.keys[op.orderKey]
	k.running--
	if k.running > 0 {
		return next
	}
	if len(k.line) == 0 {
		delete(o.keys, op.orderKey)
		o.spare = append(o.spare, k)
		return next
	}
	k.writes = k.line[0].isWrite()
	for len(k.line) > 0 && k.line[0].isWrite() == k.writes {
		next = append(next, k.line[0])
		k.line = k.line[1:]
		k.running++
	}
	return next
}

func (o *order) fresh() *keyOrder {
	if n := len(o.spare); n > 0 {
		k := o.spare[n-1]
		o.spare = o.spare[:n-1]
		k.line = k.line[:0]
		return k
	}
	return &keyOrder{}
}
