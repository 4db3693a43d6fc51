package store

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed says that the store, view, batch or snapshot is closed.
	ErrClosed = errors.New("the store is closed")
	// ErrStopped says that the caller's stop channel ended a snapshot or a
	// restore. Nothing was changed.
	ErrStopped = errors.New("stopped by the caller")
)

// NewerFormatError says that a newer version of this program wrote the data.
type NewerFormatError struct {
	// What has the format: "data directory" or "snapshot".
	What string
	// Stored is the format found, Supported the newest that can be read.
	Stored, Supported uint32
}

func (e *NewerFormatError) Error() string {
	return fmt.Sprintf("the %s has format %d, this version reads formats up to %d: use a newer version",
		e.What, e.Stored, e.Supported)
}

// InUseError says that another process has the data directory open.
type InUseError struct {
	Dir string
	Err error
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("the data directory %s is in use by another process: %v", e.Dir, e.Err)
}

func (e *InUseError) Unwrap() error { return e.Err }

// CorruptSnapshotError says that a snapshot stream is damaged, cut short or
// not one of ours. Nothing of the shard was changed.
type CorruptSnapshotError struct {
	// Reason is what is wrong.
	Reason string
	// Err is the cause, or nil.
	Err error
}

func (e *CorruptSnapshotError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("corrupt snapshot: %s: %v", e.Reason, e.Err)
	}
	return "corrupt snapshot: " + e.Reason
}

func (e *CorruptSnapshotError) Unwrap() error { return e.Err }

// InvalidShardError says that a shard number is outside 1..MaxShardID, so
// nothing can be stored under it.
type InvalidShardError struct {
	Shard uint64
}

func (e *InvalidShardError) Error() string {
	return fmt.Sprintf("shard number %d is not between 1 and %d", e.Shard, uint64(MaxShardID))
}

// TooLargeError says that a row or a batch is larger than the store takes.
type TooLargeError struct {
	// What is too large: "row" or "batch".
	What string
	// Bytes is its size, BytesMax the bound.
	Bytes, BytesMax int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("a %s of %d bytes is larger than %d", e.What, e.Bytes, e.BytesMax)
}

// FatalError says that the database cannot go on.
type FatalError struct {
	Reason string
}

func (e *FatalError) Error() string { return "the database cannot go on: " + e.Reason }
