package gateway_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
)

// watching is a stream of watches as a client sees it.
type watching struct {
	*connect.BidiStreamForClientSimple[flotillav1.WatchRequest, flotillav1.WatchResponse]
	t *testing.T
}

func (s *served) watch(key string) *watching {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), waitMax)
	s.t.Cleanup(cancel)
	client := flotillav1connect.NewWatchServiceClient(http2(), s.url, connect.WithInterceptors(bearer(key)),
		connect.WithAcceptCompression("gzip", nil, nil)) // what is repeated would take no room
	stream, err := client.Watch(ctx)
	require.NoError(s.t, err)
	return &watching{stream, s.t}
}

func (w *watching) create(c *flotillav1.WatchCreate) {
	w.t.Helper()
	require.NoError(w.t, w.Send(&flotillav1.WatchRequest{Request: &flotillav1.WatchRequest_Create{Create: c}}))
}

func (w *watching) cancel(id int64) {
	w.t.Helper()
	require.NoError(w.t, w.Send(&flotillav1.WatchRequest{Request: &flotillav1.WatchRequest_Cancel{
		Cancel: &flotillav1.WatchCancel{WatchId: id},
	}}))
}

func (w *watching) progress(id int64) {
	w.t.Helper()
	require.NoError(w.t, w.Send(&flotillav1.WatchRequest{Request: &flotillav1.WatchRequest_Progress{
		Progress: &flotillav1.WatchProgress{WatchId: id},
	}}))
}

// next is the next answer, as text.
func (w *watching) next() string {
	w.t.Helper()
	a, err := w.Receive()
	require.NoError(w.t, err)
	return describe(a)
}

func describe(a *flotillav1.WatchResponse) string {
	text := fmt.Sprintf("%d:", a.GetWatchId())
	if a.GetCreated() {
		text += " created"
	}
	if a.GetCanceled() {
		text += " canceled"
	}
	if a.GetError() != nil {
		text += " " + strings.TrimPrefix(a.GetError().GetInfo().GetReason().String(), "REASON_")
		if field := a.GetError().GetInfo().GetMetadata()["field"]; field != "" {
			text += "(" + field + ")"
		}
	}
	if a.GetResumeRevision() != 0 {
		text += fmt.Sprintf(" resume=%d", a.GetResumeRevision())
	}
	for _, e := range a.GetEvents() {
		text += fmt.Sprintf(" %s=%s", e.GetKv().GetKey(), e.GetKv().GetValue())
		if e.GetType() == flotillav1.Event_TYPE_DELETE {
			text += "(deleted)"
		}
	}
	return text + fmt.Sprintf(" @%d", a.GetRevision())
}

func onKey(key string) *flotillav1.WatchCreate {
	return &flotillav1.WatchCreate{Target: &flotillav1.WatchCreate_Key{Key: []byte(key)}}
}

func TestWatchStream(t *testing.T) {
	t.Parallel()
	s := serve(t, gateway.Config{})
	w := s.watch(s.key)
	w.create(onKey("a"))
	require.Equal(t, "1: created @1", w.next())
	w.create(&flotillav1.WatchCreate{WatchId: 7, Target: &flotillav1.WatchCreate_Range{Range: &flotillav1.KeyRange{Prefix: []byte("a")}}})
	require.Equal(t, "7: created @1", w.next())
	s.put("ab", "x")
	require.Equal(t, "7: ab=x @2", w.next())
	w.cancel(7)
	require.Equal(t, "7: canceled resume=3 @2", w.next())
	s.put("a", "y")
	require.Equal(t, "1: a=y @3", w.next())
	w.progress(1)
	require.Equal(t, "1: @3", w.next())
	w.progress(0)
	require.Equal(t, "0: @3", w.next())
	_, err := s.kv().Delete(t.Context(), &flotillav1.DeleteRequest{Target: &flotillav1.DeleteRequest_Key{Key: []byte("a")}})
	require.NoError(t, err)
	require.Equal(t, "1: a=(deleted) @4", w.next())

	past := onKey("a")
	past.StartRevision = 3
	w.create(past)
	require.Equal(t, "2: created @2", w.next())
	require.Equal(t, "2: a=y a=(deleted) @4", w.next())

	// A caller that asks no more still listens, until its watches have ended.
	require.NoError(t, w.CloseRequest())
	s.put("a", "z")
	require.ElementsMatch(t, []string{"1: a=z @5", "2: a=z @5"}, []string{w.next(), w.next()})
	require.NoError(t, w.CloseResponse())
}

func TestAStreamWithoutWatchesEndsWithItsRequests(t *testing.T) {
	t.Parallel()
	s := serve(t, gateway.Config{})
	w := s.watch(s.key)
	w.create(onKey("a"))
	require.Equal(t, "1: created @1", w.next())
	w.cancel(1)
	require.Equal(t, "1: canceled resume=2 @1", w.next())
	require.NoError(t, w.CloseRequest())
	_, err := w.Receive()
	require.ErrorIs(t, err, io.EOF)
}

// What cannot be done is answered so, and hurts neither the stream nor its other
// watches.
func TestBadWatchRequests(t *testing.T) {
	t.Parallel()
	s := serve(t, gateway.Config{})
	s.limit(&flotillav1.Limits{WatchesMax: 2})
	w := s.watch(s.key)
	first := onKey("a")
	first.WatchId = 5
	w.create(first)
	require.Equal(t, "5: created @1", w.next())

	reversed := &flotillav1.WatchCreate{WatchId: 9, Target: &flotillav1.WatchCreate_Range{
		Range: &flotillav1.KeyRange{Start: []byte("b"), End: []byte("a")},
	}}
	elsewhere := onKey("a")
	elsewhere.Namespace = "none"
	misnamed := onKey("a")
	misnamed.Namespace = "No Such Name"
	future := onKey("a")
	future.StartRevision = 1 << 62
	for _, test := range []struct {
		name   string
		create *flotillav1.WatchCreate
		want   string
	}{
		{"no target", &flotillav1.WatchCreate{}, "0: canceled INVALID_FIELD(target) @0"},
		{"an empty key", onKey(""), "0: canceled INVALID_FIELD(key) @0"},
		{"a long key", onKey(strings.Repeat("k", 5000)), "0: canceled TOO_LARGE @0"},
		{"a range that ends before it starts", reversed, "9: canceled INVALID_FIELD(range.start) @0"},
		{"an id in use", first, "5: canceled ALREADY_EXISTS @0"},
		{"an unknown namespace", elsewhere, "0: canceled NAMESPACE_NOT_FOUND @0"},
		{"a namespace that cannot be", misnamed, "0: canceled INVALID_FIELD(namespace) @0"},
		{"the far future", future, "1: created @1"},
		{"more than the limit", onKey("c"), "0: canceled QUOTA_EXCEEDED @0"},
	} {
		w.create(test.create)
		got := w.next()
		if test.name == "a range that ends before it starts" {
			require.Contains(t, got, "9: canceled INVALID_FIELD(", test.name)
			continue
		}
		require.Equal(t, test.want, got, test.name)
	}
	w.cancel(77)
	require.Equal(t, "77: canceled WATCH_NOT_FOUND @0", w.next())
	w.progress(77)
	require.Equal(t, "77: canceled WATCH_NOT_FOUND @0", w.next())
	require.NoError(t, w.Send(&flotillav1.WatchRequest{}))
	require.Equal(t, "0: canceled INVALID_FIELD(request) @0", w.next())

	s.put("a", "still here")
	require.Equal(t, "5: a=still here @2", w.next())

	// The same refusals end a stream of one watch at once.
	client := flotillav1connect.NewWatchServiceClient(http2(), s.url, connect.WithInterceptors(bearer(s.key)))
	one, err := client.WatchOne(t.Context(), &flotillav1.WatchOneRequest{})
	require.NoError(t, err)
	require.False(t, one.Receive())
	require.Equal(t, connect.CodeInvalidArgument, connect.CodeOf(one.Err()))
}

func TestACompactedStartIsToldApart(t *testing.T) {
	t.Parallel()
	s := serve(t, gateway.Config{})
	s.put("a", "1")
	compact := s.put("a", "2")
	_, err := s.kv().Compact(t.Context(), &flotillav1.CompactRequest{Revision: compact})
	require.NoError(t, err)
	w := s.watch(s.key)
	past := onKey("a")
	past.StartRevision = 2
	w.create(past)
	require.Equal(t, "1: created @1", w.next())
	a, err := w.Receive()
	require.NoError(t, err)
	require.Equal(t, "1: canceled REVISION_COMPACTED resume=2 @1", describe(a))
	require.Equal(t, "3", a.GetError().GetInfo().GetMetadata()["compact_revision"])
	past.StartRevision = compact
	w.create(past)
	require.Equal(t, "2: created @2", w.next())
	require.Equal(t, "2: a=2 @3", w.next())
}

func TestARevokedKeyEndsItsWatches(t *testing.T) {
	t.Parallel()
	s := serve(t, gateway.Config{})
	key := s.newKey()
	w := s.watch(key)
	w.create(onKey("a"))
	require.Equal(t, "1: created @1", w.next())
	id, _, _ := strings.Cut(strings.TrimPrefix(key, "flk_"), "_")
	require.NoError(t, s.catalog.RevokeAPIKey(t.Context(), "tenant", id))
	s.put("a", "secret")
	require.Equal(t, "1: canceled UNAUTHENTICATED resume=2 @1", w.next())
	_, err := w.Receive()
	require.Equal(t, connect.CodeUnauthenticated, connect.CodeOf(err))
}

func TestWatchesEndWhenTheServerStops(t *testing.T) {
	t.Parallel()
	s := serve(t, gateway.Config{})
	w := s.watch(s.key)
	w.create(onKey("a"))
	require.Equal(t, "1: created @1", w.next())
	s.put("b", "1")
	stopped := make(chan error, 1)
	go func() { stopped <- s.server.Stop(t.Context()) }()
	require.Equal(t, "1: canceled SHUTTING_DOWN resume=2 @1", w.next())
	_, err := w.Receive()
	require.Equal(t, connect.CodeUnavailable, connect.CodeOf(err))
	require.NoError(t, <-stopped)
}

// A caller that takes nothing is cut off after a while. Until then what waits for
// it is bounded, and another watch of the same keys sees everything at once.
func TestACallerThatTakesNothingIsCutOff(t *testing.T) {
	t.Parallel()
	s := serve(t, gateway.Config{StallMax: 500 * time.Millisecond})
	idle := s.watch(s.key)
	idle.create(onKey("a"))
	require.Equal(t, "1: created @1", idle.next())
	taking := s.watch(s.key)
	taking.create(onKey("a"))
	require.Equal(t, "1: created @1", taking.next())

	const writes, size = 40, 1 << 20
	most := float64(0)
	for i := range writes {
		value := fmt.Sprintf("%d:%s", i, strings.Repeat("v", size))
		s.put("a", value)
		require.Equal(t, fmt.Sprintf("1: a=%s @%d", value, i+2), taking.next())
		most = max(most, s.metric("flotilla_watch_waiting_bytes"))
	}
	require.LessOrEqual(t, most, float64(6*size), "of %d MiB written", writes*size>>20)
	require.Eventually(t, func() bool { return s.metric("flotilla_watch_watches") == 1 }, waitMax, 10*time.Millisecond,
		"the one that takes its events is left")

	// It finds what was on its way, and then that the stream was cut.
	last := uint64(1)
	for {
		a, err := idle.Receive()
		if err != nil {
			require.NotErrorIs(t, err, io.EOF)
			break
		}
		last = a.GetRevision()
	}
	require.Less(t, last, uint64(writes))
	again := s.watch(s.key)
	rest := onKey("a")
	rest.StartRevision = last + 1
	again.create(rest)
	require.Equal(t, fmt.Sprintf("1: created @%d", last), again.next())
	for last < writes+1 {
		a, err := again.Receive()
		require.NoError(t, err)
		for _, e := range a.GetEvents() {
			last++
			require.Equal(t, last, e.GetKv().GetModRevision())
		}
	}
}

// Streams that are silent are not taken for stalled.
func TestASilentStreamIsNotCutOff(t *testing.T) {
	t.Parallel()
	s := serve(t, gateway.Config{StallMax: 10 * time.Millisecond, WatchProgressInterval: 300 * time.Millisecond})
	w := s.watch(s.key)
	c := onKey("a")
	c.ProgressNotify = true
	w.create(c)
	require.Equal(t, "1: created @1", w.next())
	require.Equal(t, "1: @1", w.next())
	require.Equal(t, "1: @1", w.next())
}
