package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/flotillakv/flotilla/gateway/apierr"
	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/route"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
)

// sseInterval is after how long without events the revision is told. It also
// keeps proxies from ending a connection that looks idle.
const sseInterval = 30 * time.Second

// asksToWatch tells whether a request is for a stream of server-sent events.
func asksToWatch(r *http.Request) (bool, error) {
	if r.Method != http.MethodGet {
		return false, nil
	}
	watching, err := boolParam(r, "watch")
	return watching || strings.Contains(r.Header.Get("Accept"), "text/event-stream"), err
}

// watch serves GET /v1/kv/{key}?watch=true and GET /v1/kv?watch=true&prefix=&start=&end=
// as server-sent events:
//
//	id: 7
//	event: put
//	data: {"key":"greeting","value":"hello","create_revision":"7","mod_revision":"7","version":"1"}
//
// The events of a revision come one after the other, and the last one has its
// number as id; an id alone says that nothing happened up to it. A browser sends
// the last id back when it connects again, as Last-Event-ID, and gets what
// followed; `start_revision` says the same for a first connection. A watch that
// ends by itself says why in an event "error", of the form of the API's errors.
func (h *Handler) watch(w http.ResponseWriter, r *http.Request, t target) error {
	request, err := watchOf(r, t)
	if err != nil {
		return err
	}
	watches := h.kv.NewWatches(r.Context(), watch.StreamConfig{ProgressInterval: sseInterval, StillValid: h.auth.StillValid})
	defer watches.Close()
	defer h.open.Add(watches)()
	if err := watches.CreateOne(r.Context(), request); err != nil {
		return err
	}
	// This is answered once the history is known to reach back so far: after
	// the first events, or at once.
	watches.Progress(1)
	answers, err := firstAnswers(r.Context(), watches)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Accel-Buffering", "no") // proxies are to pass events on at once
	setRevision(w, uint64(answers[0].Latest))
	w.WriteHeader(http.StatusOK)
	return h.stream(w, r, watches, answers)
}

// watchOf is what a request asks to watch.
func watchOf(r *http.Request, t target) (*flotillav1.WatchCreate, error) {
	known := []string{"watch", "start_revision", "prev_kv"}
	if t.key == nil {
		known = append(known, "prefix", "start", "end")
	}
	if err := onlyParams(r, known...); err != nil {
		return nil, err
	}
	query := r.URL.Query()
	from, err := uintParam(r, "start_revision")
	if err != nil {
		return nil, err
	}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		seen, err := strconv.ParseUint(last, 10, 63)
		if err != nil {
			return nil, &mvcc.InvalidError{Field: "Last-Event-ID", Message: "must be the id of an event that a watch gave"}
		}
		from = seen + 1
	}
	prevKV, err := boolParam(r, "prev_kv")
	if err != nil {
		return nil, err
	}
	request := &flotillav1.WatchCreate{Namespace: t.namespace, StartRevision: from, PrevKv: prevKV, Fragment: true, ProgressNotify: true}
	if t.key != nil {
		request.Target = &flotillav1.WatchCreate_Key{Key: t.key}
		return request, nil
	}
	request.Target = &flotillav1.WatchCreate_Range{Range: &flotillav1.KeyRange{
		Prefix: []byte(query.Get("prefix")), Start: []byte(query.Get("start")), End: []byte(query.Get("end")),
	}}
	return request, nil
}

// firstAnswers waits until the watch has begun and has more to tell: its first
// events, how far it is, or that it ended, which is an error.
func firstAnswers(ctx context.Context, watches *route.Watches) ([]watch.Answer, error) {
	var answers []watch.Answer
	for len(answers) < 2 {
		var err error
		if answers, err = watches.Next(ctx, answers); err != nil {
			return nil, err
		}
	}
	if answers[1].Canceled {
		return nil, answers[1].Err
	}
	return answers, nil
}

// stream sends answers until the watch or the caller ends.
func (h *Handler) stream(w http.ResponseWriter, r *http.Request, watches *route.Watches, answers []watch.Answer) error {
	controller := http.NewResponseController(w)
	stall := intercept.NewStall(intercept.WithResponse(r.Context(), w), h.stallMax)
	defer stall.Close()
	var text bytes.Buffer
	for {
		ended := false
		text.Reset()
		for i := range answers {
			if err := writeAnswer(&text, &answers[i], intercept.RequestID(r.Context())); err != nil {
				return err
			}
			ended = ended || answers[i].Canceled
		}
		err := stall.Send(func() error {
			if _, err := w.Write(text.Bytes()); err != nil {
				return err
			}
			return controller.Flush()
		})
		if err != nil {
			return endedError{err}
		}
		if ended {
			return nil
		}
		clear(answers)
		if answers, err = watches.Next(r.Context(), answers[:0]); err != nil {
			return endedError{err}
		}
	}
}

// endedError is the end of a stream whose status was sent: nothing can be
// answered any more.
type endedError struct{ error }

// Unwrap returns why it ended.
func (e endedError) Unwrap() error { return e.error }

// sseEvent is one change. What is not valid UTF-8 is given in base64 instead.
type sseEvent struct {
	listKey
	PrevKV *listKey `json:"prev_kv,omitempty"`
}

// sseDeletion is a change that has no version.
type sseDeletion struct {
	Key         string   `json:"key,omitempty"`
	KeyBase64   []byte   `json:"key_base64,omitempty"`
	ModRevision string   `json:"mod_revision"`
	PrevKV      *listKey `json:"prev_kv,omitempty"`
}

func writeAnswer(out *bytes.Buffer, a *watch.Answer, requestID string) error {
	for i, e := range a.Events {
		last := i == len(a.Events)-1 && !a.Fragment || i < len(a.Events)-1 && a.Events[i+1].Revision != e.Revision
		if last {
			writeID(out, e.Revision)
		}
		var prev *listKey
		if kv := e.PrevKV(); a.PrevKV && kv != nil {
			prev = new(listKeyOf(kv))
		}
		var err error
		if e.IsDelete() {
			d := sseDeletion{ModRevision: strconv.FormatUint(uint64(e.Revision), 10), PrevKV: prev}
			d.Key, d.KeyBase64 = text(e.Key)
			err = writeEvent(out, "delete", d)
		} else {
			err = writeEvent(out, "put", sseEvent{listKey: listKeyOf(e.KeyValue()), PrevKV: prev})
		}
		if err != nil {
			return err
		}
	}
	switch {
	case a.Canceled && a.Err != nil:
		encoded, err := protojson.Marshal(apierr.ToProto(a.Err, requestID))
		if err != nil {
			return err
		}
		return writeEvent(out, "error", json.RawMessage(encoded))
	case a.IsProgress():
		writeID(out, a.Revision)
		out.WriteByte('\n')
	}
	return nil
}

func writeID(out *bytes.Buffer, revision mvcc.Revision) {
	out.WriteString("id: ")
	out.WriteString(strconv.FormatUint(uint64(revision), 10))
	out.WriteByte('\n')
}

// writeEvent writes an event; JSON has no line breaks.
func writeEvent(out *bytes.Buffer, name string, data any) error {
	encoded, err := json.Marshal(data)
	if err != nil {
		return err
	}
	out.WriteString("event: " + name + "\ndata: ")
	out.Write(encoded)
	out.WriteString("\n\n")
	return nil
}

// isEnded tells whether an error came too late to be answered.
func isEnded(err error) bool { return errors.As(err, new(endedError)) }
