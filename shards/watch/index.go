package watch

import "bytes"

// An index finds the watches that a key concerns: those of the key itself by a
// map, and those of ranges by a tree, in O(log n) steps and a few for each range
// that holds the key. Watches of the same keys share a place, so a thousand
// watches of one prefix are one node.
//
// Not safe for concurrent use.
type index struct {
	keys   map[string]*group
	ranges *group // root of the tree
	next   uint64 // numbers the nodes
	size   int    // watches in all
	// visits counts the nodes of the tree that find looked at, for tests.
	visits int
}

// group is the watches of the same keys: those of [start, end), where an empty
// end is no upper bound. It is a node of a treap, a search tree by start and
// end that is also a heap by priority: with priorities as good as random its
// depth is O(log n). Each node knows how far the ranges below it reach.
type group struct {
	start, end  []byte
	watches     []*watcher
	left, right *group
	priority    uint64
	reach       []byte // the greatest end in the subtree; empty is unbounded
}

// isKey tells whether [start, end) is a single key.
func isKey(start, end []byte) bool {
	return len(end) == len(start)+1 && end[len(start)] == 0 && bytes.HasPrefix(end, start)
}

// add puts a watch into the index.
func (x *index) add(w *watcher) {
	g := x.groupOf(w)
	w.group, w.place = g, len(g.watches)
	g.watches = append(g.watches, w)
	x.size++
}

func (x *index) groupOf(w *watcher) *group {
	if isKey(w.start, w.end) {
		g := x.keys[string(w.start)]
		if g == nil {
			if x.keys == nil {
				x.keys = make(map[string]*group)
			}
			g = &group{start: w.start, end: w.end}
			x.keys[string(w.start)] = g
		}
		return g
	}
	if g := x.ranges.lookup(w.start, w.end); g != nil {
		return g
	}
	x.next++
	g := &group{start: w.start, end: w.end, reach: w.end, priority: scramble(x.next)}
	x.ranges = x.ranges.insert(g)
	return g
}

// remove takes a watch out of the index; one that is not in it is no error.
func (x *index) remove(w *watcher) {
	g := w.group
	if g == nil {
		return
	}
	last := len(g.watches) - 1
	moved := g.watches[last]
	g.watches[w.place], moved.place = moved, w.place
	g.watches[last] = nil
	g.watches = g.watches[:last]
	w.group = nil
	x.size--
	switch {
	case last > 0:
	case isKey(g.start, g.end):
		delete(x.keys, string(g.start))
	default:
		x.ranges = x.ranges.remove(g.start, g.end)
	}
}

// find calls visit for each watch that the key concerns. visit must not change
// the index.
func (x *index) find(key []byte, visit func(*watcher)) {
	if g := x.keys[string(key)]; g != nil {
		for _, w := range g.watches {
			visit(w)
		}
	}
	x.visits += x.ranges.find(key, visit)
}

// all calls visit for each watch of the index.
func (x *index) all(visit func(*watcher)) {
	for _, g := range x.keys {
		for _, w := range g.watches {
			visit(w)
		}
	}
	x.ranges.all(visit)
}

func (g *group) all(visit func(*watcher)) {
	if g == nil {
		return
	}
	g.left.all(visit)
	for _, w := range g.watches {
		visit(w)
	}
	g.right.all(visit)
}

// find returns how many nodes it looked at. A subtree that does not reach the
// key is passed over at its root.
func (g *group) find(key []byte, visit func(*watcher)) (visits int) {
	for g != nil {
		visits++
		if !endsAfter(g.reach, key) {
			return visits
		}
		visits += g.left.find(key, visit)
		if bytes.Compare(g.start, key) > 0 {
			return visits // so are all to the right
		}
		if endsAfter(g.end, key) {
			for _, w := range g.watches {
				visit(w)
			}
		}
		g = g.right
	}
	return visits
}

func (g *group) lookup(start, end []byte) *group {
	for g != nil {
		switch order := g.compare(start, end); {
		case order < 0:
			g = g.left
		case order > 0:
			g = g.right
		default:
			return g
		}
	}
	return nil
}

// insert adds a node that is not in the tree, and returns the new root.
func (g *group) insert(added *group) *group {
	switch {
	case g == nil:
		return added
	case added.priority > g.priority:
		added.left, added.right = g.split(added.start, added.end)
		added.update()
		return added
	case g.compare(added.start, added.end) < 0:
		g.left = g.left.insert(added)
	default:
		g.right = g.right.insert(added)
	}
	g.update()
	return g
}

// remove takes a node that is in the tree out of it, and returns the new root.
func (g *group) remove(start, end []byte) *group {
	switch order := g.compare(start, end); {
	case order < 0:
		g.left = g.left.remove(start, end)
	case order > 0:
		g.right = g.right.remove(start, end)
	default:
		return merge(g.left, g.right)
	}
	g.update()
	return g
}

// split parts a tree in the nodes before a range and those after it.
func (g *group) split(start, end []byte) (before, after *group) {
	if g == nil {
		return nil, nil
	}
	if g.compare(start, end) < 0 {
		before, g.left = g.left.split(start, end)
		g.update()
		return before, g
	}
	g.right, after = g.right.split(start, end)
	g.update()
	return g, after
}

// merge joins two trees; all nodes of the first come before those of the second.
func merge(before, after *group) *group {
	switch {
	case before == nil:
		return after
	case after == nil:
		return before
	case before.priority > after.priority:
		before.right = merge(before.right, after)
		before.update()
		return before
	default:
		after.left = merge(before, after.left)
		after.update()
		return after
	}
}

// update works out reach anew.
func (g *group) update() {
	g.reach = g.end
	for _, child := range []*group{g.left, g.right} {
		if child != nil && len(g.reach) > 0 && (len(child.reach) == 0 || bytes.Compare(child.reach, g.reach) > 0) {
			g.reach = child.reach
		}
	}
}

// compare orders a range against the node's: by start, then by end.
func (g *group) compare(start, end []byte) int {
	if order := bytes.Compare(start, g.start); order != 0 {
		return order
	}
	return bytes.Compare(end, g.end)
}

func endsAfter(end, key []byte) bool { return len(end) == 0 || bytes.Compare(end, key) > 0 }

// scramble turns a counter into a number that is as good as random, and the same
// on each run (the finalizer of splitmix64).
func scramble(n uint64) uint64 {
	n *= 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}
