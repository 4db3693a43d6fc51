package machine

import (
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// Table tells the kinds of rows of a namespace, or of the shard itself, apart.
// The numbers are stored: they never change meaning.
type Table byte

// The tables. Rows of namespace 0 are the shard's own.
const (
	// TableState holds one row: a NamespaceState, or of the shard a ShardState.
	TableState Table = 1
	// TableVersions holds the versions of keys; see mvcc.
	TableVersions Table = 2
	// TableEvents holds the history: (revision, sub) -> key; see mvcc.
	TableEvents Table = 3
	// TableRequests holds the shard's kept answers: entry index -> RequestAnswers; see
	// requestIndex.
	TableRequests Table = 4
	// TablePurges holds the shard's namespaces with revisions to purge:
	// namespace id -> nothing.
	TablePurges Table = 5
	// TableAges holds when the shard's namespaces wrote: (age bucket,
	// namespace id) -> revision before the bucket's first write.
	TableAges Table = 6
	// TableLeases holds the leases of the shard's namespaces: see
	// lease_record.go.
	TableLeases Table = 7
	// TableLeaseKeys holds which keys of a namespace are attached to its
	// leases: see lease_record.go.
	TableLeaseKeys Table = 8
	// TableStoredHours holds how much a namespace stored: hour since 1970, big
	// endian -> StoredHour.
	TableStoredHours Table = 9
)

// shardRows is the namespace of the shard's own rows.
const shardRows tenancy.NamespaceID = 0

// Rows reads plain rows. Byte slices are valid until the next call.
type Rows interface {
	// Row returns one row; ok is false when there is none.
	Row(table Table, ns tenancy.NamespaceID, key []byte) (value []byte, ok bool, err error)
	// Rows visits the rows with keys in [start, end) in byte order. An empty
	// end is no upper bound. The iterator must be closed before the next
	// write to the same batch.
	Rows(table Table, ns tenancy.NamespaceID, start, end []byte) RowIterator
}

// RowIterator visits rows. Next must be called before the first one.
type RowIterator interface {
	// Next moves on; false at the end or at an error.
	Next() bool
	// Key is the row's key.
	Key() []byte
	// Value is the row's value.
	Value() ([]byte, error)
	// Close ends the iteration and returns the error that cut it short.
	Close() error
}

// Batch collects the effects of log entries. Its reads see its own writes;
// nothing is visible outside before it is committed.
type Batch interface {
	Rows
	// Namespace is the key space of one namespace.
	Namespace(ns tenancy.NamespaceID) mvcc.Writer
	// SetRow writes a plain row.
	SetRow(table Table, ns tenancy.NamespaceID, key, value []byte) error
	// DeleteRow removes a plain row; one that is absent is no error.
	DeleteRow(table Table, ns tenancy.NamespaceID, key []byte) error
	// DropNamespace removes all rows of a namespace but that of its state, however
	// many there are. Nothing may be written to its key space any more.
	DropNamespace(ns tenancy.NamespaceID) error
}
