package store

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/tenancy"
)

// Table tells the kinds of rows apart. machine gives out the numbers.
type Table = machine.Table

// RowIterator visits plain rows; see Batch.Rows.
type RowIterator = machine.RowIterator

const tableMax = 0xfe // the next one bounds it

// checkPlain refuses a table that has no plain rows. Only a mistake in the
// program can ask for one.
func checkPlain(table Table) error {
	if table == 0 || table > tableMax || table == machine.TableVersions || table == machine.TableEvents {
		return fmt.Errorf("table %d has no plain rows", table)
	}
	return nil
}

// rowIterator implements RowIterator.
type rowIterator struct{ scan }

func newRowIterator(from scanner, shard uint32, ns tenancy.NamespaceID, table Table, start, end []byte) *rowIterator {
	if err := checkPlain(table); err != nil {
		return &rowIterator{scan{err: err}}
	}
	return &rowIterator{rangeScan(from, shard, ns, table, start, end)}
}

// Next implements RowIterator.
func (r *rowIterator) Next() bool { return r.next() }

// Key implements RowIterator.
func (r *rowIterator) Key() []byte { return rowKey(r.it.Key()) }

// Value implements RowIterator.
func (r *rowIterator) Value() ([]byte, error) { return r.value() }

// findRow looks a plain row up.
func findRow(it *pebble.Iterator, key []byte) (value []byte, ok bool, err error) {
	if !it.SeekPrefixGE(key) {
		return nil, false, it.Error()
	}
	value, err = it.ValueAndErr()
	return value, err == nil, err
}
