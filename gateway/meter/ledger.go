package meter

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/flotillakv/flotilla/placement/catalog"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// Ledger keeps what was counted: a *catalog.Catalog.
type Ledger interface {
	WriteUsage(ctx context.Context, rows []catalog.UsageRow) error
}

const (
	// flushEvery is how often what was counted is written.
	flushEvery = 10 * time.Second
	// watchFlushes is with how many flushes tenants are written that have watches and
	// do nothing.
	watchFlushes = 6
	// flushTimeout bounds one flush, and flushPause is how long one that is asked for
	// may rely on the one before.
	flushTimeout = 10 * time.Second
	// lastFlushTimeout is the same for the last one, which a stop waits for.
	lastFlushTimeout = 3 * time.Second
	flushPause       = time.Second
	// rowsMax bounds the rows that are kept in memory.
	rowsMax = 400_000
)

// ledger brings what tenants have used to the Ledger: for each tenant and hour the
// total of this process, written over and over while it grows. So a write that is
// repeated counts nothing twice, and one that is lost is made good by the next.
//
//	L1: what was taken from a tenant's counters is in a row, and a row that is not
//	    written as it is stays until it is.
type ledger struct {
	kept Ledger // nil: nothing is kept
	now  func() time.Time

	// noting guards what follows: tenants that have used something since they were
	// collected, and those with watches.
	noting   sync.Mutex
	used     []*Tenant
	watching map[*Tenant]struct{}

	// mu guards what follows, and is held for as long as a flush takes.
	mu   sync.Mutex
	boot string
	// generation is a part of the rows' names: rows that were forgotten begin anew
	// under another one.
	generation int
	hour       uint64 // which is counted
	rows       map[rowKey]*row
	flushes    int
}

type rowKey struct {
	tenant tenancy.TenantID
	hour   uint64
}

// row is what this process has counted of a tenant in an hour.
type row struct {
	usage *flotillav1.Usage
	boot  string
	// begun tells that it was written once, and writes how often it is still to be.
	begun  bool
	writes int
	// written is when it was last.
	written time.Time
}

func newLedger(cfg Config) *ledger {
	return &ledger{
		kept: cfg.Ledger, now: cfg.Now, boot: cfg.BootID,
		watching: make(map[*Tenant]struct{}), rows: make(map[rowKey]*row), hour: hourOf(cfg.Now()),
	}
}

func hourOf(t time.Time) uint64 { return uint64(max(t.Unix(), 0)) / 3600 }

// note notes a tenant that has used something.
func (l *ledger) note(t *Tenant) {
	l.noting.Lock()
	defer l.noting.Unlock()
	l.used = append(l.used, t)
}

// watch notes whether a tenant has watches.
func (l *ledger) watch(t *Tenant) {
	l.noting.Lock()
	defer l.noting.Unlock()
	if t.used.watches.count() > 0 {
		l.watching[t] = struct{}{}
	} else {
		delete(l.watching, t)
	}
}

// next is how long it is until the next flush: the end of an hour is one, so that
// each hour gets what is its own.
func (l *ledger) next() time.Duration {
	now := l.now()
	return min(flushEvery, now.Truncate(time.Hour).Add(time.Hour).Sub(now))
}

// flush writes what was counted until now. Of tenants that only have watches it
// writes it now and then, and at the end of an hour.
func (l *ledger) flush(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flushes++
	over := hourOf(l.now()) != l.hour
	l.collect(over || l.flushes%watchFlushes == 0)
	l.turn()
	return l.write(ctx, func(rowKey, *row) bool { return true })
}

// flushAll writes all that was counted until now.
func (l *ledger) flushAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lastFlushTimeout)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.collect(true)
	l.turn()
	return l.write(ctx, func(rowKey, *row) bool { return true })
}

// flushTenant writes what was counted for a tenant, unless it was a moment ago.
func (l *ledger) flushTenant(ctx context.Context, t *Tenant) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.take(t)
	now := l.now()
	return l.write(ctx, func(key rowKey, r *row) bool {
		return key.tenant == t.id && now.Sub(r.written) >= flushPause
	})
}

// collect takes what tenants have used. It needs mu.
func (l *ledger) collect(watching bool) {
	if l.kept != nil && len(l.rows) >= rowsMax {
		l.forget()
	}
	l.noting.Lock()
	list := l.used
	if l.kept != nil && len(l.rows) >= rowsMax {
		list = nil // it stays where it was counted
	} else {
		l.used = nil
	}
	if watching {
		for t := range l.watching {
			list = append(list, t)
		}
	}
	l.noting.Unlock()
	for _, t := range list {
		l.take(t)
	}
}

// take takes what a tenant has used into its row. It needs mu.
func (l *ledger) take(t *Tenant) {
	used := t.used.take(l.now())
	if isEmpty(used) || l.kept == nil {
		return
	}
	key := rowKey{t.id, l.hour}
	r := l.rows[key]
	if r == nil {
		boot := l.boot
		if l.generation > 0 {
			boot = fmt.Sprintf("%s-%d", l.boot, l.generation)
		}
		r = &row{usage: &flotillav1.Usage{}, boot: boot}
		l.rows[key] = r
	}
	catalog.AddUsage(r.usage, used)
	r.writes = max(r.writes, 1)
}

// turn begins another hour if it is time. It needs mu.
func (l *ledger) turn() {
	hour := hourOf(l.now())
	if hour < l.hour { // a clock that was set back: that hour's rows may be gone
		l.generation++
		l.forget()
	}
	l.hour = hour
}

// forget drops the rows that are written, and has those that come begin anew under
// another name. It needs mu.
func (l *ledger) forget() {
	for key, r := range l.rows {
		if r.writes == 0 {
			delete(l.rows, key)
		}
	}
	l.generation++
}

// write writes the rows that are to be written and chosen, in parts, up to the
// first that fails. It needs mu.
func (l *ledger) write(ctx context.Context, chosen func(rowKey, *row) bool) error {
	if l.kept == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	var part []catalog.UsageRow
	var rows []*row
	var keys []rowKey
	flush := func() error {
		err := l.kept.WriteUsage(ctx, part)
		for i, r := range rows {
			if err != nil {
				// It may still be applied, over what is written next: so that is
				// written twice.
				r.writes = 2
				continue
			}
			r.begun, r.written = true, l.now()
			if r.writes--; r.writes == 0 && keys[i].hour != l.hour {
				delete(l.rows, keys[i])
			}
		}
		part, rows, keys = part[:0], rows[:0], keys[:0]
		return err
	}
	for key, r := range l.rows {
		if r.writes == 0 {
			if key.hour != l.hour {
				delete(l.rows, key)
			}
			continue
		}
		if !chosen(key, r) {
			continue
		}
		part = append(part, catalog.UsageRow{Tenant: key.tenant, Hour: key.hour, Boot: r.boot, Usage: r.usage, First: !r.begun})
		rows, keys = append(rows, r), append(keys, key)
		if len(part) == catalog.UsageRowsMax {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(part) == 0 {
		return nil
	}
	return flush()
}
