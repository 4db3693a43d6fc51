package etcd

import (
	"context"
	"errors"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// noWatch is the id in answers that are about no watch, or about all.
const noWatch = -1

// send sends what the watches have to tell until the stream ends.
func (w *watchStream) send(ctx context.Context) (err error) {
	defer intercept.Recovered(&err)
	var answers []watch.Answer
	for {
		if answers, err = w.watches.Next(ctx, answers[:0]); err != nil {
			return err
		}
		for i := range answers {
			if err := w.sendAnswer(ctx, &answers[i]); err != nil {
				return err
			}
		}
		clear(answers)
		w.encoder.forget()
	}
}

// sendAnswer sends one answer. Its error ends the stream: so ends also a watch
// that its client should begin again elsewhere, because etcd's clients take a
// watch that is canceled for ended, and go on by themselves when the stream
// ends.
func (w *watchStream) sendAnswer(ctx context.Context, a *watch.Answer) error {
	switch {
	case len(a.Events) > 0:
		return w.sends.send(w.grpc, w.encode(a))
	case a.Canceled:
		return w.sendCanceled(ctx, a)
	case a.All && a.Revision == 0: // there is no watch
		return nil
	}
	response := &pb.WatchResponse{WatchId: a.WatchID, Created: a.Created}
	revision := a.Revision
	if a.All {
		response.WatchId = noWatch
	}
	if a.Created {
		revision = max(a.Revision, a.Latest)
	}
	response.Header = w.header(w.caller, uint64(revision))
	return w.sends.send(w.grpc, response)
}

// sendCanceled tells that a watch ended, or was refused.
func (w *watchStream) sendCanceled(ctx context.Context, a *watch.Answer) error {
	if compacted, ok := errors.AsType[*mvcc.CompactedError](a.Err); ok {
		return w.sends.send(w.grpc, &pb.WatchResponse{
			Header: w.header(w.caller, 0), WatchId: a.WatchID, Canceled: true, CompactRevision: int64(compacted.CompactRevision),
		})
	}
	response := &pb.WatchResponse{WatchId: a.WatchID, Canceled: true, Created: a.Created}
	switch {
	case errors.Is(a.Err, watch.ErrWatchNotFound): // etcd says nothing to that
		return nil
	case a.Created:
		reason, err := refusal(a.Err)
		if err != nil {
			return err
		}
		response.WatchId, response.CancelReason = noWatch, reason
	case a.Err != nil:
		return a.Err
	}
	state, err := w.kv.State(meter.Within(ctx), w.caller.namespace, shards.Serializable)
	if err != nil {
		return err
	}
	response.Header = w.header(w.caller, uint64(state.Revision))
	return w.sends.send(w.grpc, response)
}

// refusal is why a watch is not begun, in etcd's words. What would go well
// elsewhere or later is an error, which ends the stream.
func refusal(err error) (reason string, _ error) {
	switch {
	case errors.Is(err, watch.ErrWatchIDInUse):
		return errDuplicateID.Error(), nil
	case errors.Is(err, errEmptyRange), errors.Is(err, errStartRevision):
		return err.Error(), nil
	case errors.Is(err, tenancy.ErrPermissionDenied):
		return errWatchPermission.Error(), nil
	case errors.Is(err, tenancy.ErrUnauthenticated):
		return rpctypes.ErrGRPCInvalidAuthToken.Error(), nil
	case mvcc.IsRefusal(err), as[*tenancy.QuotaError](err):
		told, _ := toStatus(err)
		return rpctypes.ErrorDesc(told), nil
	}
	return "", err
}

// The fields of etcdserverpb.WatchResponse that go with events.
const (
	fieldHeader   = protowire.Number(1)
	fieldWatchID  = protowire.Number(2)
	fieldFragment = protowire.Number(7)
	fieldEvents   = protowire.Number(11)
)

// encode makes a WatchResponse of events.
func (w *watchStream) encode(a *watch.Answer) encodedMessage {
	b := make([]byte, 0, 64)
	header, _ := proto.Marshal(w.header(w.caller, uint64(max(a.Revision, a.Latest)))) // it has nothing that could fail
	b = protowire.AppendTag(b, fieldHeader, protowire.BytesType)
	b = protowire.AppendBytes(b, header)
	if a.WatchID != 0 {
		b = protowire.AppendTag(b, fieldWatchID, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(a.WatchID))
	}
	if a.Fragment {
		b = protowire.AppendTag(b, fieldFragment, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	return append(encodedMessage{b}, w.encoder.encode(a)...)
}

// encoder encodes the events of answers, each event once for all streams. It
// remembers what it encoded last, because watches of a stream that see the same
// are answered one after the other, though not all with as many events.
type encoder struct {
	last [4]encodedEvents
	next int // the one of them to replace
}

// encodedEvents is the events of an answer with their encoding.
type encodedEvents struct {
	events  []*watch.Event
	form    watch.Encoding
	encoded [][]byte // not to be changed: they may still be on their way
}

// sharedBytesMin is how large an encoded event is that is sent as a part of its
// own, which all streams share. Smaller ones are put together.
const sharedBytesMin = 4 << 10

func (l *encoder) encode(a *watch.Answer) [][]byte {
	form, encode := watch.EncodingEtcd, encodeEvent
	if a.PrevKV {
		form, encode = watch.EncodingEtcdPrev, encodeEventPrev
	}
	for i := range l.last {
		if e := &l.last[i]; e.form == form && slices.Equal(e.events, a.Events) {
			return e.encoded
		}
	}
	encoded := encodeEvents(a.Events, form, encode)
	e := &l.last[l.next]
	l.next = (l.next + 1) % len(l.last)
	e.events, e.form, e.encoded = append(e.events[:0], a.Events...), form, encoded
	return encoded
}

func encodeEvents(events []*watch.Event, form watch.Encoding, encode func(*watch.Event) []byte) (parts [][]byte) {
	size := 0
	for _, e := range events {
		if size += 8; len(e.Encoded(form, encode)) < sharedBytesMin {
			size += len(e.Encoded(form, encode))
		}
	}
	b := make([]byte, 0, size)
	for _, e := range events {
		encoded := e.Encoded(form, encode)
		b = protowire.AppendTag(b, fieldEvents, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(len(encoded)))
		if len(encoded) < sharedBytesMin {
			b = append(b, encoded...)
			continue
		}
		parts = append(parts, b, encoded)
		b = b[len(b):]
	}
	return append(parts, b)
}

// forget lets go of the events, which are not kept beyond their answers.
func (l *encoder) forget() {
	for i := range l.last {
		e := &l.last[i]
		clear(e.events)
		e.events, e.encoded = e.events[:0], nil
	}
}

func encodeEvent(e *watch.Event) []byte { return encodeMvccEvent(eventOf(e)) }

func encodeEventPrev(e *watch.Event) []byte {
	event := eventOf(e)
	event.PrevKv = keyValue(e.PrevKV())
	return encodeMvccEvent(event)
}

func eventOf(e *watch.Event) *mvccpb.Event {
	event := &mvccpb.Event{Kv: keyValue(e.KeyValue())}
	if e.IsDelete() {
		event.Type = mvccpb.Event_DELETE
	}
	return event
}

func encodeMvccEvent(event *mvccpb.Event) []byte {
	encoded, _ := proto.Marshal(event) // it has no text that could fail
	return encoded
}
