package flotilla

import (
	"context"
	"errors"
	"iter"
	"time"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// OneKey is the range of a single key.
func OneKey(key string) KeyRange { return KeyRange{Start: key, End: key + "\x00"} }

// Event is one change of one key.
type Event struct {
	// Deleted tells that the key was deleted, by a caller or by the end of its
	// lease, and not written.
	Deleted bool
	// KV is the version that was written. Of a deletion it has the key and the
	// ModRevision alone.
	KV *KeyValue
	// PrevKV is the version before, if it was asked for and existed, and is not
	// compacted.
	PrevKV *KeyValue
}

func event(e *flotillav1.Event) *Event {
	return &Event{Deleted: e.GetType() == flotillav1.Event_TYPE_DELETE, KV: keyValue(e.GetKv()), PrevKV: keyValue(e.GetPrevKv())}
}

// WatchBatch is what a watch tells at once: the events of one revision or of
// several whole ones, or none.
type WatchBatch struct {
	// Revision is the one up to which the watch has shown all events, these
	// included: a watch from the revision after it misses and repeats nothing.
	Revision uint64
	// Events are the changes, in their order.
	Events []*Event
}

// WatchOptions says how to watch. The zero value is what changes from now on.
type WatchOptions struct {
	// From is the first revision to show; 0 is the next one. To read keys and
	// then follow them, watch from the revision after the one that was read.
	From uint64
	// PrevKV asks for the versions before the events.
	PrevKV bool
	// NoPut leaves out writes.
	NoPut bool
	// NoDelete leaves out deletions.
	NoDelete bool
}

// Watch shows the changes of keys in the order of their revisions, each once and
// none left out, until the loop is broken off or ctx ends. When the connection
// or the server fails it goes on by itself where it was, for as long as ctx
// lasts. An error is the last thing that it yields: *CompactedError if changes
// that it had yet to show were dropped by compaction.
//
//	for event, err := range kv.Watch(ctx, flotilla.Prefix("config/"), nil) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(event.KV.Key, event.Deleted)
//	}
//
// A loop that takes long holds up its own watch alone.
func (k *KV) Watch(ctx context.Context, keys KeyRange, opts *WatchOptions) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		for batch, err := range k.WatchBatches(ctx, keys, opts) {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, e := range batch.Events {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// WatchBatches is Watch for programs that keep the revision, or need the changes
// of a transaction together: the events of one revision are in one batch.
//
// The first batch comes when the watch has begun, and has no events: everything
// after its Revision will be shown. Later ones without events tell that nothing
// happened up to their Revision.
func (k *KV) WatchBatches(ctx context.Context, keys KeyRange, opts *WatchOptions) iter.Seq2[*WatchBatch, error] {
	if opts == nil {
		opts = &WatchOptions{}
	}
	return func(yield func(*WatchBatch, error) bool) {
		ctx, cancel := k.client.untilClosed(ctx)
		defer cancel(nil)
		w := watching{kv: k, keys: keys, opts: *opts, next: opts.From}
		visitor := visitor{all: k.client.endpoints}
		for failures := 0; ; {
			visitor.visit(k.client.endpoints.present())
			more, err := w.attempt(ctx, yield)
			if !more {
				return
			}
			if w.progressed {
				w.progressed, failures, visitor.doubtful = false, 0, 0
			}
			failures++
			after, ok := goesOn(err)
			if over(ctx) {
				yield(nil, interrupted(context.Cause(ctx), context.Cause(ctx), false))
				return
			}
			visitor.ended(err)
			if !ok {
				yield(nil, err)
				return
			}
			pause(ctx, max(after, backoff(failures)))
		}
	}
}

// over tells whether the context has ended, or is about to: the connection hears
// of its deadline on its own, and may do so a moment before.
func over(ctx context.Context) bool {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done()
	}
	return ctx.Err() != nil
}

// goesOn tells whether a watch that ended with an error can go on where it was.
func goesOn(err error) (after time.Duration, ok bool) {
	var e *Error
	if errors.As(err, &e) && e.Reason == flotillav1.Reason_REASON_DEADLINE_EXCEEDED {
		return 0, true // the server looked at the context's deadline just before we do
	}
	return retryable(err)
}

// untilClosed returns a context that also ends when the client is closed.
func (c *Client) untilClosed(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-c.closed:
			cancel(ErrClosed)
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// watching is a watch over all its connections.
type watching struct {
	kv   *KV
	keys KeyRange
	opts WatchOptions
	// next is the first revision that was not yielded; 0 until the watch has
	// begun for the first time.
	next  uint64
	begun bool
	// progressed tells that this connection brought something.
	progressed bool
	// parts are the events of revisions whose end has not come yet.
	parts []*Event
}

// attempt watches on one connection. more is false when the loop was broken off;
// otherwise err is why the connection ended.
func (w *watching) attempt(ctx context.Context, yield func(*WatchBatch, error) bool) (more bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the call, whatever is still under way
	w.parts = nil
	stream, err := w.kv.client.watches.WatchOne(ctx, &flotillav1.WatchOneRequest{Watch: w.request()})
	if err != nil {
		return true, fromConnect(err)
	}
	defer func() { _ = stream.Close() }() // how the call ended is known by then
	for stream.Receive() {
		answer := stream.Msg().GetWatch()
		w.progressed = true
		if answer.GetCanceled() {
			return true, watchEnd(answer)
		}
		batch := w.take(answer)
		if batch != nil && !yield(batch, nil) {
			return false, nil
		}
	}
	if err := stream.Err(); err != nil {
		return true, fromConnect(err)
	}
	return true, unreachable(errors.New("the watch ended without a word"), false)
}

func (w *watching) request() *flotillav1.WatchCreate {
	return &flotillav1.WatchCreate{
		Namespace: w.kv.namespace, Target: &flotillav1.WatchCreate_Range{Range: w.keys.proto()},
		StartRevision: w.next, PrevKv: w.opts.PrevKV, NoPut: w.opts.NoPut, NoDelete: w.opts.NoDelete,
		Fragment: true, // so that no message is larger than a client takes
		// So that a watch of which nothing changes for long is not overtaken by
		// compaction when it has to begin again.
		ProgressNotify: true,
	}
}

// watchEnd is why the server ended a watch.
func watchEnd(answer *flotillav1.WatchResponse) error {
	if answer.GetError() == nil {
		return unreachable(errors.New("the watch was ended"), false)
	}
	err := fromProto(answer.GetError())
	if e, ok := errors.AsType[*Error](err); ok {
		e.unknown = false
	}
	return err
}

// take adds an answer to what the watch has shown, and returns what there is to
// yield, if anything.
func (w *watching) take(answer *flotillav1.WatchResponse) *WatchBatch {
	for _, e := range answer.GetEvents() {
		w.parts = append(w.parts, event(e))
	}
	if answer.GetFragment() {
		return nil // the rest of the revision follows
	}
	first := !w.begun
	w.begun = true
	if answer.GetRevision() < w.next && len(w.parts) == 0 && !first {
		return nil // a new connection's beginning, or a watch from the future
	}
	w.next = max(w.next, answer.GetRevision()+1)
	batch := &WatchBatch{Revision: answer.GetRevision(), Events: w.parts}
	w.parts = nil
	return batch
}
