package watch

import (
	"errors"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// An Answer is one thing that a stream tells of one of its watches:
//
//	Created            the watch has begun; its events follow
//	Created, Canceled  it was refused, because of Err
//	Canceled           it has ended: nothing follows. Err tells why, nil if the caller asked for it
//	Events             changes
//	none of these      a notice of progress
type Answer struct {
	// WatchID is the watch; with All it is 0.
	WatchID int64
	// All tells that the notice of progress is for all watches of the stream.
	All bool
	// Created tells that the watch has begun.
	Created bool
	// Canceled tells that the watch has ended.
	Canceled bool
	// Err is why it ended: *mvcc.CompactedError, ErrWatchNotFound for a request
	// that named no watch of the stream, ErrWatchIDInUse, or what else kept it
	// from going on.
	Err error
	// Resume is, of a watch that ended, the revision to begin again from.
	Resume mvcc.Revision
	// Revision is the one up to which all events of the watch were given, those
	// of this answer included, unless Fragment is set. Of a notice for all
	// watches it holds for each; it is 0 if they are of several namespaces.
	Revision mvcc.Revision
	// Latest is the newest revision of the namespace that this node has seen;
	// at least Revision, unless the watch begins in the future.
	Latest mvcc.Revision
	// Fragment tells that more events of Revision follow in the watch's next
	// answer.
	Fragment bool
	// PrevKV tells that the watch asked for the versions before its events.
	PrevKV bool
	// Events are the changes, in their order.
	Events []*Event
	// Lost is, of a watch that ended with an error, how to begin it again; nil if
	// it cannot go on in the midst of a revision.
	Lost *Lost

	source  *watcher // whose events they are, until the answer is complete
	charged int64    // to the account, as being sent
	// history tells that they were read, and can be read again.
	history bool
}

// Lost is a watch that ended before its time.
type Lost struct {
	Namespace tenancy.NamespaceID
	// Spec is the watch from where it was.
	Spec Spec
}

// IsProgress tells whether the answer is a notice of progress.
func (a *Answer) IsProgress() bool { return !a.Created && !a.Canceled && len(a.Events) == 0 }

// lacksPrevious tells whether versions before the events are still to be read.
func (a *Answer) lacksPrevious() bool {
	if !a.PrevKV {
		return false
	}
	for _, e := range a.Events {
		if e.previous.Load() == nil {
			return true
		}
	}
	return false
}

var (
	// ErrWatchNotFound says that the stream has no watch of this id.
	ErrWatchNotFound = errors.New("the stream has no watch of this id")
	// ErrStalled says that a stream was ended because its caller took nothing.
	// Its watches can be created again, from where they were.
	ErrStalled = errors.New("the caller took no answers")
	// ErrWatchIDInUse says that the stream has a watch of this id already.
	ErrWatchIDInUse = errors.New("the stream has a watch of this id already")
)

// EventProto is an event as the API spells it, with the version before it if
// prevKV is set. It shares the event's bytes.
func EventProto(e *Event, prevKV bool) *flotillav1.Event {
	event := &flotillav1.Event{Type: flotillav1.Event_TYPE_PUT, Kv: e.KeyValue()}
	if e.IsDelete() {
		event.Type = flotillav1.Event_TYPE_DELETE
	}
	if prevKV {
		event.PrevKv = e.PrevKV()
	}
	return event
}

// EventFrom is the event that EventProto spelled. It shares the message's bytes.
func EventFrom(event *flotillav1.Event) *Event {
	kv := event.GetKv()
	e := &Event{Revision: mvcc.Revision(kv.GetModRevision()), Key: kv.GetKey()}
	if event.GetType() == flotillav1.Event_TYPE_DELETE {
		e.Version.Tombstone = true
	} else {
		e.Version = mvcc.Version{
			CreateRevision: mvcc.Revision(kv.GetCreateRevision()), Version: kv.GetVersion(), Lease: kv.GetLease(), Value: kv.GetValue(),
		}
	}
	e.previous.Store(&previous{kv: event.GetPrevKv()})
	return e
}
