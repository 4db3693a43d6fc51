package mvcc

// Reader is what the key space of one namespace needs of storage to be read.
// It shows one consistent state; inside a batch it also shows what the batch
// wrote before.
//
// Byte slices that a Reader returns are valid until the next call on it; those
// of an iterator until it moves on or is closed. A Reader is used by one
// goroutine.
type Reader interface {
	// Version returns the newest stored version of key whose revision is at
	// most at, tombstones included. ok is false when there is none.
	Version(key []byte, at Revision) (rev Revision, value []byte, ok bool, err error)

	// Versions visits the keys in [start, end) in byte order, or in reverse,
	// and for each the newest stored version whose revision is at most at,
	// tombstones included; keys without such a version are passed over. An
	// empty end is no upper bound. The iterator must be closed before the
	// next write to the same batch.
	Versions(start, end []byte, at Revision, descending bool) VersionIterator

	// Events visits the history in order, beginning with revision from. The
	// iterator must be closed before the next write to the same batch.
	Events(from Revision) EventIterator
}

// VersionIterator visits versions. Next must be called before the first one.
type VersionIterator interface {
	// Next moves on; false at the end or at an error.
	Next() bool
	// Key is the user key.
	Key() []byte
	// Revision is the version's revision.
	Revision() Revision
	// Value is the stored value, read only when it is called.
	Value() ([]byte, error)
	// Close ends the iteration and returns the error that cut it short.
	Close() error
}

// EventIterator visits history events: which key changed at which revision.
// Next must be called before the first one.
type EventIterator interface {
	// Next moves on; false at the end or at an error.
	Next() bool
	// Revision is the event's revision.
	Revision() Revision
	// Sub is the place of the event among those of its revision, from 0.
	Sub() uint32
	// Key is the key that changed: its version at Revision tells how.
	Key() []byte
	// Close ends the iteration and returns the error that cut it short.
	Close() error
}

// Writer is a Reader whose namespace can be changed. Nothing is visible
// outside the batch before the batch is committed. It keeps none of the byte
// slices that it is given.
type Writer interface {
	Reader
	// Head returns what is known of key's newest stored version without
	// reading its value: all that a put needs of the version before it. It is
	// the zero Head when there is none, or a tombstone.
	Head(key []byte) (Head, error)
	// PutVersion stores a version, which is newer than those of the key that
	// were stored before.
	PutVersion(key []byte, rev Revision, value []byte) error
	// DeleteVersion removes a stored version.
	DeleteVersion(key []byte, rev Revision) error
	// PutEvent stores the history event number sub of revision rev.
	PutEvent(rev Revision, sub uint32, key []byte) error
	// DeleteEvent removes a history event.
	DeleteEvent(rev Revision, sub uint32) error
}
