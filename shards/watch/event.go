package watch

import (
	"fmt"
	"sync/atomic"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

// Encoding names a form of an event that a front door keeps with it.
type Encoding uint8

// The encodings: one for each front door, with and without the version before.
const (
	EncodingFlotilla Encoding = iota
	EncodingFlotillaPrev
	EncodingEtcd
	EncodingEtcdPrev
	encodings
)

// An Event is one change of one key. All watches that see it share it: what is
// exported is not to be changed.
type Event struct {
	// Revision is the revision of the change.
	Revision mvcc.Revision
	// Key is the key that changed.
	Key []byte
	// Version is what was written, or a tombstone.
	Version mvcc.Version

	sub      uint32 // its place among the events of its revision
	refs     atomic.Int32
	previous atomic.Pointer[previous]
	encoded  [encodings]atomic.Pointer[[]byte]
}

// previous is the version before an event, once it was looked for.
type previous struct {
	kv *flotillav1.KeyValue // nil if there was none, or it is compacted
}

// newEvent makes an event that shares the bytes of key and stored.
func newEvent(rev mvcc.Revision, sub uint32, key, stored []byte) (*Event, error) {
	version, err := mvcc.DecodeVersion(stored)
	if err != nil {
		return nil, fmt.Errorf("event %d of revision %d: %w", sub, rev, err)
	}
	return &Event{Revision: rev, Key: key, Version: version, sub: sub}, nil
}

// IsDelete tells whether the key was deleted, and not written.
func (e *Event) IsDelete() bool { return e.Version.Tombstone }

// KeyValue is the version that was written; of a deletion it has the key and
// the revision alone. It shares the event's bytes.
func (e *Event) KeyValue() *flotillav1.KeyValue { return e.Version.KeyValue(e.Key, e.Revision) }

// PrevKV is the version before: nil if there was none, or its revision is
// compacted. It is known for the events of watches that asked for it.
func (e *Event) PrevKV() *flotillav1.KeyValue {
	if p := e.previous.Load(); p != nil {
		return p.kv
	}
	return nil
}

// Encoded returns the event in a front door's own form, which encode makes with
// the first call; all watches that see the event share it. The bytes are not to
// be changed.
func (e *Event) Encoded(form Encoding, encode func(*Event) []byte) []byte {
	if made := e.encoded[form].Load(); made != nil {
		return *made
	}
	made := encode(e) // two callers may do the same work: both results are good
	e.encoded[form].Store(&made)
	return made
}

// eventOverheadBytes is what an event takes besides its key and value.
const eventOverheadBytes = 256

// size is about how many bytes of memory the event takes.
func (e *Event) size() int { return eventOverheadBytes + len(e.Key) + len(e.Version.Value) }

// answerBytes is about how many bytes the event takes in an answer.
func (e *Event) answerBytes(prevKV bool) int {
	n := mvcc.AnswerKeyBytes + len(e.Key) + len(e.Version.Value)
	if prevKV {
		kv := e.PrevKV()
		n += len(kv.GetKey()) + len(kv.GetValue())
	}
	return n
}

// own is a copy of the event that is not shared, but for its bytes.
func (e *Event) own() *Event {
	return &Event{Revision: e.Revision, Key: e.Key, Version: e.Version, sub: e.sub}
}

// hasPrevious tells whether there may have been a version before the event.
func (e *Event) hasPrevious() bool { return e.Version.Tombstone || e.Version.Version > 1 }

// position is a place in a namespace's history: before the event number sub of
// a revision.
type position struct {
	revision mvcc.Revision
	sub      uint32
}

func (e *Event) position() position { return position{e.Revision, e.sub} }

// before tells whether p is an earlier place than q.
func (p position) before(q position) bool {
	return p.revision < q.revision || p.revision == q.revision && p.sub < q.sub
}
