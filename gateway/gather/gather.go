// Package gather has things of one kind wait while others of it are worked on,
// and then go together: the more there is to do, the larger the groups, and a
// lone one never waits for company.
package gather

import (
	"slices"
	"sync"
)

// A Gatherer has up to WorkersMax workers for each kind, which run while there is
// something for them. It knows only the kinds that have some. Safe for concurrent
// use.
type Gatherer[K comparable, T any] struct {
	workersMax, itemsMax int

	mu    sync.Mutex
	lines map[K]*line[T]
}

// line is what waits of one kind.
type line[T any] struct {
	waiting []T
	workers int
}

// New makes a gatherer whose workers take up to itemsMax at once.
func New[K comparable, T any](workersMax, itemsMax int) *Gatherer[K, T] {
	return &Gatherer[K, T]{workersMax: workersMax, itemsMax: itemsMax, lines: make(map[K]*line[T])}
}

// Add has a worker take the items, in their order, with others that wait for one.
// The worker that takes them works as the call says that began it, so work should
// mean the same for all of a kind. It does not block.
func (g *Gatherer[K, T]) Add(kind K, work func([]T), items ...T) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lines[kind]
	if l == nil {
		l = &line[T]{}
		g.lines[kind] = l
	}
	l.waiting = append(l.waiting, items...)
	if l.workers < g.workersMax {
		l.workers++
		go func() {
			for taken := g.take(kind, l); len(taken) > 0; taken = g.take(kind, l) {
				work(taken)
			}
		}()
	}
}

// take gives a worker what waits. A worker that gets nothing has ended.
func (g *Gatherer[K, T]) take(kind K, l *line[T]) []T {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(l.waiting), g.itemsMax)
	taken := slices.Clone(l.waiting[:n])
	l.waiting = slices.Delete(l.waiting, 0, n)
	if n == 0 {
		if l.workers--; l.workers == 0 {
			delete(g.lines, kind)
		}
	}
	return taken
}
