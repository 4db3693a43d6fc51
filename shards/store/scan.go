package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/tenancy"
)

// scanner gives out iterators over one consistent state. A nil iterator is an
// empty range. What was opened must be given back.
type scanner interface {
	openScan(lower, upper []byte) (*pebble.Iterator, error)
	closeScan(it *pebble.Iterator) error
}

// scansKept is how many iterators are kept to be used again: making one costs
// several times a seek.
const scansKept = 2

// idleScans are iterators to be used again.
type idleScans []*pebble.Iterator

func (idle *idleScans) take() *pebble.Iterator {
	n := len(*idle)
	if n == 0 {
		return nil
	}
	it := (*idle)[n-1]
	*idle = (*idle)[:n-1]
	return it
}

// put keeps the iterator, or closes it if it failed or is one too many.
func (idle *idleScans) put(it *pebble.Iterator) error {
	err := it.Error()
	if err != nil || len(*idle) == scansKept {
		return errors.Join(err, it.Close())
	}
	*idle = append(*idle, it)
	return nil
}

func (idle *idleScans) close() error {
	var err error
	for _, it := range *idle {
		err = errors.Join(err, it.Close())
	}
	*idle = (*idle)[:0]
	return err
}

// scan is a running iteration over keys in a range; the types of rows build
// on it. Next must be called before the first key.
type scan struct {
	from scanner
	it   *pebble.Iterator // nil if the range is empty, after an error and after Close
	// begun says that it was positioned.
	begun bool
	err   error
}

// rangeScan scans the rows of a table with keys in [start, end); no end is no
// bound.
func rangeScan(from scanner, shard uint32, ns tenancy.NamespaceID, table machine.Table, start, end []byte) scan {
	lower := appendRow(make([]byte, 0, keyBytesMin+len(start)), shard, ns, table, start)
	upper := make([]byte, 0, keyBytesMin+len(end))
	if len(end) == 0 {
		upper = appendTableEnd(upper, shard, ns, table)
	} else {
		upper = appendRow(upper, shard, ns, table, end)
	}
	return boundedScan(from, lower, upper)
}

func boundedScan(from scanner, lower, upper []byte) scan {
	s := scan{from: from}
	if compareKeys(lower, upper) < 0 {
		s.it, s.err = from.openScan(lower, upper)
	}
	return s
}

// next moves to the next key.
func (s *scan) next() bool {
	if s.it == nil {
		return false
	}
	if !s.begun {
		s.begun = true
		return s.it.First()
	}
	return s.it.Next()
}

// fail ends the iteration with an error, which Close returns.
func (s *scan) fail(err error) bool {
	s.err = errors.Join(err, s.release())
	return false
}

func (s *scan) release() error {
	if s.it == nil {
		return nil
	}
	err := s.from.closeScan(s.it)
	s.it = nil
	return err
}

// Close ends the iteration and returns the error that cut it short. Safe to
// call twice.
func (s *scan) Close() error {
	s.err = errors.Join(s.err, s.release())
	if s.err != nil {
		return fmt.Errorf("scan: %w", s.err)
	}
	return nil
}

// value is the value at the iterator's position.
func (s *scan) value() ([]byte, error) {
	if s.it == nil {
		return nil, errNotPositioned
	}
	return s.it.ValueAndErr()
}

var errNotPositioned = errors.New("the iterator is at no row")
