package chaos

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// outcome is what a writer was told of one write.
type outcome int

const (
	acknowledged outcome = iota
	refused              // it was surely not applied
	unknown
)

// entry is one write of a unique key.
type entry struct {
	value    string
	outcome  outcome
	revision uint64 // if it was acknowledged
}

// ledger is what the writers were told. It is the truth that the node is held
// to after a crash.
type ledger struct {
	mu sync.Mutex
	// unique has a key for each write.
	unique map[string]entry
	// counted has the additions to each counter, by outcome.
	counted map[string][3]int
	// listed has the items appended to each list, by outcome.
	listed map[string][3][]string
	// revision is the newest that a writer was told of.
	revision uint64
	// firstBegun is, of the acknowledged puts that were begun after mark, the one
	// that was answered first.
	mark       time.Time
	firstBegun timed
}

// timed is when a write was begun and answered.
type timed struct{ begun, answered time.Time }

func newLedger() *ledger {
	return &ledger{
		unique: make(map[string]entry), counted: make(map[string][3]int), listed: make(map[string][3][]string),
	}
}

func (l *ledger) put(key string, e entry, begun time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.outcome == acknowledged && begun.After(l.mark) && l.firstBegun.answered.IsZero() {
		l.firstBegun = timed{begun, time.Now()}
	}
	l.unique[key] = e
	l.revision = max(l.revision, e.revision)
}

func (l *ledger) add(counter string, o outcome, revision uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := l.counted[counter]
	counts[o]++
	l.counted[counter] = counts
	l.revision = max(l.revision, revision)
}

func (l *ledger) append(list, item string, o outcome, revision uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	items := l.listed[list]
	items[o] = append(slices.Clip(items[o]), item)
	l.listed[list] = items
	l.revision = max(l.revision, revision)
}

// outcomes counts the writes by what their writers were told, for the log.
func (l *ledger) outcomes() string {
	var n [3]int
	for _, e := range l.unique {
		n[e.outcome]++
	}
	for _, counts := range l.counted {
		for o, count := range counts {
			n[o] += count
		}
	}
	for _, items := range l.listed {
		for o := range items {
			n[o] += len(items[o])
		}
	}
	return fmt.Sprintf("%d acknowledged, %d refused, %d unknown", n[acknowledged], n[refused], n[unknown])
}
