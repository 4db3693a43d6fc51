package mvcc

import (
	"errors"
	"fmt"
)

// Refusal is an error that is an answer: the request was understood, was not
// carried out, and changed nothing. Every replica refuses alike. Any other
// error says that storage failed.
type Refusal interface {
	error
	// Refusal marks the error as an answer.
	Refusal()
}

// IsRefusal says whether err is a refusal, or wraps one.
func IsRefusal(err error) bool {
	var refusal Refusal
	return errors.As(err, &refusal)
}

// condition is a refusal that needs no data.
type condition string

func (c condition) Error() string { return string(c) }
func (condition) Refusal()        {}

const (
	// ErrKeyNotFound says that a key that had to exist does not.
	ErrKeyNotFound = condition("the key does not exist")
	// ErrKeyExists says that a key that had not to exist does.
	ErrKeyExists = condition("the key exists")
	// ErrLeaseNotFound says that the lease does not exist or has expired.
	ErrLeaseNotFound = condition("the lease does not exist or has expired")
	// ErrLeaseExists says that a lease had to be new and is not.
	ErrLeaseExists = condition("a lease of this id exists")
	// ErrFencingTokenStale says that the lock or leadership is no longer held
	// under the fencing token.
	ErrFencingTokenStale = condition("the fencing token is no longer the holder's")
)

// RevisionMismatchError says that a key's mod_revision is not the expected one.
type RevisionMismatchError struct {
	// Actual is the key's mod_revision, 0 when the key does not exist.
	Actual Revision
}

func (e *RevisionMismatchError) Error() string {
	if e.Actual == 0 {
		return "the key does not exist, so its mod_revision is not the expected one"
	}
	return fmt.Sprintf("the key's mod_revision is %d, not the expected one", e.Actual)
}

// Refusal marks the error as an answer.
func (*RevisionMismatchError) Refusal() {}

// CompactedError says that a revision was dropped by compaction.
type CompactedError struct {
	// CompactRevision is the oldest readable revision.
	CompactRevision Revision
}

func (e *CompactedError) Error() string {
	return fmt.Sprintf("the revision is compacted; the compact revision is %d", e.CompactRevision)
}

// Refusal marks the error as an answer.
func (*CompactedError) Refusal() {}

// FutureRevisionError says that a revision does not exist yet.
type FutureRevisionError struct {
	// Revision is the namespace's revision.
	Revision Revision
}

func (e *FutureRevisionError) Error() string {
	return fmt.Sprintf("the revision is in the future; the namespace is at revision %d", e.Revision)
}

// Refusal marks the error as an answer.
func (*FutureRevisionError) Refusal() {}

// InvalidError says that a field of a request is missing, malformed, out of
// range, or at odds with another.
type InvalidError struct {
	// Field is the path of the field in the request, such as
	// "success[2].put.key".
	Field string
	// Message says what is wrong with it.
	Message string
}

func (e *InvalidError) Error() string { return e.Field + ": " + e.Message }

// Refusal marks the error as an answer.
func (*InvalidError) Refusal() {}

// TooLargeError says that a request, or what it would take to answer it, is
// larger than a limit.
type TooLargeError struct {
	// Limit is the limit's name, such as "key_bytes_max".
	Limit string
	// Value is the size, or the part of it that was seen before giving up.
	Value uint64
	// Max is the limit.
	Max uint64
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%d is more than the limit %s of %d", e.Value, e.Limit, e.Max)
}

// Refusal marks the error as an answer.
func (*TooLargeError) Refusal() {}

// DuplicateKeyError says that one path through a transaction writes a key
// twice.
type DuplicateKeyError struct{}

func (*DuplicateKeyError) Error() string { return "the transaction writes a key twice" }

// Refusal marks the error as an answer.
func (*DuplicateKeyError) Refusal() {}
