package watch

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// Record is what one watch showed, from its beginning until it ended; a watch
// that a client began again is another record.
type Record struct {
	// Name says which it was.
	Name string
	Keys flotilla.KeyRange
	Opts flotilla.WatchOptions
	// Batches are what it yielded, in order; the first tells its beginning.
	Batches []*flotilla.WatchBatch
}

// Write is what a writer was told that it had done.
type Write struct {
	Revision uint64
	// Puts are the keys that it wrote; Deleted those that it removed, if they
	// existed.
	Puts    map[string]string
	Deleted []string
}

// contains tells whether a key is in a range.
func contains(r flotilla.KeyRange, key string) bool {
	return strings.HasPrefix(key, r.Prefix) && key >= r.Start && (r.End == "" || key < r.End)
}

// Check holds records to the rules, and to what was written: the last state of
// the keys, and the acknowledged writes. Together the records must show every
// revision from the first to the last.
func Check(records []*Record, writes []Write, last map[string]*flotilla.KeyValue, lastRevision uint64) error {
	c := &checker{history: make(map[uint64]map[string]*flotilla.Event)}
	for _, r := range records {
		c.form(r)
	}
	c.replay(lastRevision, last)
	for _, r := range records {
		c.complete(r)
	}
	for _, w := range writes {
		c.durable(w)
	}
	return errors.Join(c.errs...)
}

type checker struct {
	// history is the events that any watch showed, by revision and key.
	history map[uint64]map[string]*flotilla.Event
	// before is, for each event of the history, the version that it replaced.
	before map[*flotilla.Event]*flotilla.KeyValue
	errs   []error
}

// errorsMax bounds what is told: one mistake shows in many watches.
const errorsMax = 20

func (c *checker) fail(format string, args ...any) {
	if len(c.errs) < errorsMax {
		c.errs = append(c.errs, fmt.Errorf(format, args...))
	}
}

// beginning is the first revision that a watch must show.
func (r *Record) beginning() uint64 {
	if r.Opts.From != 0 {
		return r.Opts.From
	}
	return r.Batches[0].Revision + 1
}

// form checks what can be seen in one record, and gathers its events.
func (c *checker) form(r *Record) {
	if len(r.Batches) == 0 {
		return
	}
	if len(r.Batches[0].Events) > 0 {
		c.fail("%s: not begun: events come first", r.Name)
	}
	told, shown := uint64(0), uint64(0)
	for _, b := range r.Batches {
		inBatch := uint64(0)
		for _, e := range b.Events {
			rev := e.KV.ModRevision
			switch {
			case rev < r.beginning():
				c.fail("%s: revision %d before the beginning, %d", r.Name, rev, r.beginning())
			case rev < shown:
				c.fail("%s: not ordered: revision %d after %d", r.Name, rev, shown)
			case rev == shown && rev != inBatch:
				c.fail("%s: not atomic: revision %d in two batches", r.Name, rev)
			case rev <= told:
				c.fail("%s: not bookmarkable: revision %d after %d was told", r.Name, rev, told)
			case rev > b.Revision:
				c.fail("%s: revision %d in a batch up to %d", r.Name, rev, b.Revision)
			}
			shown, inBatch = rev, rev
			if !r.asksFor(e) {
				c.fail("%s: not filtered: %q at revision %d", r.Name, e.KV.Key, rev)
			}
			c.gather(r, e)
		}
		if b.Revision < told {
			c.fail("%s: not bookmarkable: %d was told after %d", r.Name, b.Revision, told)
		}
		told = max(told, b.Revision)
	}
}

func (r *Record) asksFor(e *flotilla.Event) bool {
	if e.Deleted && r.Opts.NoDelete || !e.Deleted && r.Opts.NoPut {
		return false
	}
	return contains(r.Keys, e.KV.Key)
}

// gather adds an event to the history; all watches must agree on it.
func (c *checker) gather(r *Record, e *flotilla.Event) {
	rev := c.history[e.KV.ModRevision]
	if rev == nil {
		rev = make(map[string]*flotilla.Event)
		c.history[e.KV.ModRevision] = rev
	}
	known := rev[e.KV.Key]
	switch {
	case known == nil:
		rev[e.KV.Key] = e
	case known.Deleted != e.Deleted || !sameVersion(known.KV, e.KV):
		c.fail("%s: %q at revision %d is not what another watch showed", r.Name, e.KV.Key, e.KV.ModRevision)
	}
}

func sameVersion(a, b *flotilla.KeyValue) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Key == b.Key && string(a.Value) == string(b.Value) && a.CreateRevision == b.CreateRevision &&
		a.ModRevision == b.ModRevision && a.Version == b.Version && a.Lease == b.Lease
}

// replay goes through the history as a key space would: versions and creations
// must be right, no revision may be missing, and the end must be the last state.
func (c *checker) replay(lastRevision uint64, last map[string]*flotilla.KeyValue) {
	c.before = make(map[*flotilla.Event]*flotilla.KeyValue)
	state := make(map[string]*flotilla.KeyValue)
	for _, rev := range slices.Sorted(maps.Keys(c.history)) {
		if rev > lastRevision {
			c.fail("revision %d was shown, and the last is %d", rev, lastRevision)
		}
	}
	for rev := uint64(2); rev <= lastRevision; rev++ {
		if len(c.history[rev]) == 0 {
			c.fail("not reliable: no watch showed revision %d", rev)
		}
		for key, e := range c.history[rev] {
			was := state[key]
			c.before[e] = was
			if e.Deleted {
				if was == nil {
					c.fail("not right: %q did not exist when it was deleted at revision %d", key, rev)
				}
				delete(state, key)
				continue
			}
			create, version := rev, uint64(1)
			if was != nil {
				create, version = was.CreateRevision, was.Version+1
			}
			if e.KV.CreateRevision != create || e.KV.Version != version {
				c.fail("not right: %q at revision %d has version %d created at %d, and should have %d and %d",
					key, rev, e.KV.Version, e.KV.CreateRevision, version, create)
			}
			state[key] = e.KV
		}
	}
	for _, key := range slices.Sorted(maps.Keys(state)) {
		if !sameVersion(state[key], last[key]) {
			c.fail("not right: %q is not as the last event on it", key)
		}
	}
	for key := range last {
		if state[key] == nil {
			c.fail("not reliable: %q exists, and no watch showed it", key)
		}
	}
}

// complete checks that a watch left nothing out of the history, and that the
// previous values are right.
func (c *checker) complete(r *Record) {
	if len(r.Batches) == 0 {
		return
	}
	upTo := r.Batches[len(r.Batches)-1].Revision
	seen := make(map[*flotilla.Event]int)
	for _, b := range r.Batches {
		for _, e := range b.Events {
			known := c.history[e.KV.ModRevision][e.KV.Key]
			if seen[known]++; seen[known] > 1 {
				c.fail("%s: not unique: %q at revision %d", r.Name, e.KV.Key, e.KV.ModRevision)
			}
			c.previous(r, e, c.before[known])
		}
	}
	for rev := r.beginning(); rev <= upTo; rev++ {
		for key, e := range c.history[rev] {
			if r.asksFor(e) && seen[e] == 0 {
				c.fail("%s: not reliable: %q at revision %d is missing, told up to %d", r.Name, key, rev, upTo)
			}
		}
	}
}

// previous checks the version before an event. It may be missing, because
// compaction drops it.
func (c *checker) previous(r *Record, e *flotilla.Event, was *flotilla.KeyValue) {
	if e.PrevKV == nil {
		return
	}
	if !r.Opts.PrevKV || !sameVersion(e.PrevKV, was) {
		c.fail("%s: not right: the version before %q at revision %d", r.Name, e.KV.Key, e.KV.ModRevision)
	}
}

// durable checks that an acknowledged write is in the history, as it was written.
func (c *checker) durable(w Write) {
	shown := c.history[w.Revision]
	for key, value := range w.Puts {
		if e := shown[key]; e == nil || e.Deleted || string(e.KV.Value) != value {
			c.fail("not durable: %q was written at revision %d", key, w.Revision)
		}
	}
	for key, e := range shown {
		_, asked := w.Puts[key]
		if asked = asked || e.Deleted && slices.Contains(w.Deleted, key); !asked {
			c.fail("not durable: %q changed at revision %d, which another key's write has", key, w.Revision)
		}
	}
}
