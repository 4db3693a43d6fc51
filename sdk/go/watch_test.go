package flotilla_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// watchServer is a scripted server: each connection of a watch plays the next
// part of the script.
type watchServer struct {
	flotillav1connect.UnimplementedWatchServiceHandler
	mu     sync.Mutex
	parts  []watchPart
	asked  []*flotillav1.WatchCreate
	gone   chan struct{} // takes one when a client left a connection that stayed open
	played int
}

// watchPart is what one connection tells, and how it ends; a nil error leaves it
// open until the client goes.
type watchPart struct {
	answers []*flotillav1.WatchResponse
	err     error
}

func (s *watchServer) WatchOne(ctx context.Context, req *flotillav1.WatchOneRequest, stream *connect.ServerStream[flotillav1.WatchOneResponse]) error {
	s.mu.Lock()
	s.asked = append(s.asked, req.GetWatch())
	var part watchPart
	if s.played < len(s.parts) {
		part = s.parts[s.played]
	}
	s.played++
	s.mu.Unlock()
	for _, a := range part.answers {
		if err := stream.Send(&flotillav1.WatchOneResponse{Watch: a}); err != nil {
			return err
		}
		if a.GetCanceled() {
			return nil
		}
	}
	if part.err != nil {
		return part.err
	}
	<-ctx.Done()
	s.gone <- struct{}{}
	return ctx.Err()
}

func startWatch(t *testing.T, parts ...watchPart) (*watchServer, *flotilla.Client) {
	t.Helper()
	s := &watchServer{parts: parts, gone: make(chan struct{}, 10)}
	mux := http.NewServeMux()
	mux.Handle(flotillav1connect.NewWatchServiceHandler(s))
	h := httptest.NewUnstartedServer(mux)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	h.Config.Protocols = protocols
	h.Start()
	client, err := flotilla.New(flotilla.Config{URL: h.URL, APIKey: "flk_test"})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, client.Close())
		h.Close()
	})
	return s, client
}

func created(revision uint64) *flotillav1.WatchResponse {
	return &flotillav1.WatchResponse{WatchId: 1, Created: true, Revision: revision}
}

// changes are events of a revision, one for each key.
func changes(revision uint64, fragment bool, keys ...string) *flotillav1.WatchResponse {
	a := &flotillav1.WatchResponse{WatchId: 1, Revision: revision, Fragment: fragment}
	for _, key := range keys {
		a.Events = append(a.Events, &flotillav1.Event{
			Type: flotillav1.Event_TYPE_PUT, Kv: &flotillav1.KeyValue{Key: []byte(key), ModRevision: revision},
		})
	}
	return a
}

func ended(reason flotillav1.Reason, metadata map[string]string) *flotillav1.WatchResponse {
	return &flotillav1.WatchResponse{WatchId: 1, Canceled: true, Error: &flotillav1.Error{
		Code: uint32(connect.CodeUnavailable), Message: "it ended",
		Info: &flotillav1.ErrorInfo{Reason: reason, Metadata: metadata},
	}}
}

// show follows a watch for so many batches, or to its error.
func show(ctx context.Context, client *flotilla.Client, opts *flotilla.WatchOptions, batches int) (shown []string, err error) {
	for batch, err := range client.Namespace("n").KV.WatchBatches(ctx, flotilla.Prefix("p/"), opts) {
		if err != nil {
			return shown, err
		}
		text := fmt.Sprintf("@%d", batch.Revision)
		for _, e := range batch.Events {
			text += " " + e.KV.Key
		}
		shown = append(shown, text)
		if batches--; batches == 0 {
			break
		}
	}
	return shown, nil
}

func (s *watchServer) revisionsAsked() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var revisions []uint64
	for _, c := range s.asked {
		revisions = append(revisions, c.GetStartRevision())
	}
	return revisions
}

func TestAWatchGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	lost := connect.NewError(connect.CodeUnavailable, errors.New("the connection is lost"))
	s, client := startWatch(t,
		watchPart{err: lost}, // before it has begun: from now on, still
		watchPart{answers: []*flotillav1.WatchResponse{created(10), changes(11, false, "a", "b"), changes(15, false)}, err: lost},
		watchPart{answers: []*flotillav1.WatchResponse{created(15), changes(16, false, "c"), changes(17, true, "d")}, err: lost},
		watchPart{answers: []*flotillav1.WatchResponse{created(16), changes(17, true, "d"), changes(17, false, "e"), ended(flotillav1.Reason_REASON_SHUTTING_DOWN, nil)}},
		watchPart{answers: []*flotillav1.WatchResponse{created(17)}, err: connect.NewError(connect.CodeInternal, errors.New("stream error"))},
		watchPart{answers: []*flotillav1.WatchResponse{created(17), changes(18, false, "f")}},
	)
	shown, err := show(t.Context(), client, nil, 6)
	require.NoError(t, err)
	require.Equal(t, []string{"@10", "@11 a b", "@15", "@16 c", "@17 d e", "@18 f"}, shown)
	require.Equal(t, []uint64{0, 0, 16, 17, 18, 18}, s.revisionsAsked())
	<-s.gone // breaking the loop off ended the call
	require.Equal(t, "n", s.asked[0].GetNamespace())
	require.True(t, s.asked[0].GetProgressNotify())
	require.Equal(t, "p/", string(s.asked[0].GetRange().GetPrefix()))
}

func TestAWatchEndsWithWhatCannotBeTriedAgain(t *testing.T) {
	t.Parallel()
	_, client := startWatch(t, watchPart{answers: []*flotillav1.WatchResponse{
		created(4), ended(flotillav1.Reason_REASON_REVISION_COMPACTED, map[string]string{"compact_revision": "9"}),
	}})
	shown, err := show(t.Context(), client, &flotilla.WatchOptions{From: 5}, 0)
	require.Equal(t, []string{"@4"}, shown)
	var compacted *flotilla.CompactedError
	require.ErrorAs(t, err, &compacted)
	require.Equal(t, uint64(9), compacted.CompactRevision)
	require.False(t, flotilla.OutcomeUnknown(err))

	_, client = startWatch(t, watchPart{answers: []*flotillav1.WatchResponse{created(4), ended(flotillav1.Reason_REASON_UNAUTHENTICATED, nil)}})
	_, err = show(t.Context(), client, nil, 0)
	require.ErrorIs(t, err, flotilla.ErrUnauthenticated)
}

func TestAWatchEndsWithItsContextAndItsClient(t *testing.T) {
	t.Parallel()
	s, client := startWatch(t, watchPart{answers: []*flotillav1.WatchResponse{created(4)}}, watchPart{answers: []*flotillav1.WatchResponse{created(4)}})
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	for batch, err := range client.Namespace("n").KV.WatchBatches(ctx, flotilla.AllKeys(), nil) {
		if err != nil {
			require.ErrorIs(t, err, enough)
			break
		}
		require.Empty(t, batch.Events)
		cancel(enough)
	}
	<-s.gone

	for batch, err := range client.Namespace("n").KV.WatchBatches(t.Context(), flotilla.AllKeys(), nil) {
		if err != nil {
			require.ErrorIs(t, err, flotilla.ErrClosed)
			break
		}
		require.Empty(t, batch.Events)
		require.NoError(t, client.Close())
	}
	<-s.gone
}
