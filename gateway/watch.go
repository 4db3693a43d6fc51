package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/flotillakv/flotilla/gateway/apierr"
	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/route"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
)

// watchHandler serves flotilla.v1.WatchService.
type watchHandler struct {
	kv   *route.KV
	auth *intercept.Authenticator
	log  *slog.Logger
	// open is the streams of watches, which end when the node begins to stop.
	open *route.OpenWatches
	// progress is watch.StreamConfig.ProgressInterval.
	progress time.Duration
	// stallMax is how long a caller may take to take one answer.
	stallMax time.Duration
}

// Watch implements WatchService. Requests are carried out on a goroutine of
// their own, answers sent on the RPC's.
func (h *watchHandler) Watch(ctx context.Context, stream *connect.BidiStream[flotillav1.WatchRequest, flotillav1.WatchResponse]) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watches := h.newWatches(ctx)
	defer watches.Close()
	defer h.open.Add(watches)()
	var asked atomic.Bool // all that the caller ever will
	go func() {           // ends when the RPC ends, which ends Receive
		err := receiveWatches(ctx, stream.Receive, watches)
		if !errors.Is(err, io.EOF) {
			cancel(err)
			return
		}
		if asked.Store(true); watches.Len() == 0 {
			cancel(io.EOF)
		}
	}()
	err := h.send(ctx, watches, func(response *flotillav1.WatchResponse) error {
		if err := stream.Send(response); err != nil {
			return err
		}
		if response.GetCanceled() && asked.Load() && watches.Len() == 0 {
			return io.EOF
		}
		return nil
	})
	if errors.Is(err, io.EOF) { // the caller asks no more, and has no watches left
		return nil
	}
	return err
}

// receiveWatches carries out requests until there are no more.
func receiveWatches(ctx context.Context, receive func() (*flotillav1.WatchRequest, error), watches *route.Watches) (err error) {
	defer intercept.Recovered(&err)
	for {
		if err := watches.Room(ctx); err != nil {
			return err
		}
		message, err := receive()
		if err != nil {
			return err
		}
		switch request := message.GetRequest().(type) {
		case *flotillav1.WatchRequest_Create:
			watches.Create(ctx, request.Create)
		case *flotillav1.WatchRequest_Cancel:
			watches.Cancel(request.Cancel.GetWatchId())
		case *flotillav1.WatchRequest_Progress:
			watches.Progress(request.Progress.GetWatchId())
		default:
			watches.Refuse(0, &mvcc.InvalidError{Field: "request", Message: "one of create, cancel and progress must be set"})
		}
	}
}

// WatchOne implements WatchService.
func (h *watchHandler) WatchOne(ctx context.Context, req *flotillav1.WatchOneRequest, stream *connect.ServerStream[flotillav1.WatchOneResponse]) error {
	watches := h.newWatches(ctx)
	defer watches.Close()
	defer h.open.Add(watches)()
	create := req.GetWatch()
	if create == nil {
		create = &flotillav1.WatchCreate{}
	}
	create.WatchId = 0
	if err := watches.CreateOne(ctx, create); err != nil {
		return err
	}
	err := h.send(ctx, watches, func(response *flotillav1.WatchResponse) error {
		if err := stream.Send(&flotillav1.WatchOneResponse{Watch: response}); err != nil {
			return err
		}
		if response.GetCanceled() {
			return io.EOF
		}
		return nil
	})
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (h *watchHandler) newWatches(ctx context.Context) *route.Watches {
	return h.kv.NewWatches(ctx, watch.StreamConfig{ProgressInterval: h.progress, StillValid: h.auth.StillValid})
}

// send sends what the watches have to tell, until they or the caller end.
func (h *watchHandler) send(ctx context.Context, watches *route.Watches, send func(*flotillav1.WatchResponse) error) error {
	stall := intercept.NewStall(ctx, h.stallMax)
	defer stall.Close()
	var answers []watch.Answer
	for {
		var err error
		if answers, err = watches.Next(ctx, answers[:0]); err != nil {
			return err
		}
		for i := range answers {
			response := h.responseOf(ctx, &answers[i])
			if err := stall.Send(func() error { return send(response) }); err != nil {
				return err
			}
		}
		clear(answers) // what was sent is not kept while nothing happens
	}
}

// responseOf is an answer as the API spells it.
func (h *watchHandler) responseOf(ctx context.Context, a *watch.Answer) *flotillav1.WatchResponse {
	response := &flotillav1.WatchResponse{
		WatchId: a.WatchID, Revision: uint64(a.Revision), Created: a.Created && !a.Canceled,
		Canceled: a.Canceled, ResumeRevision: uint64(a.Resume), Fragment: a.Fragment,
	}
	if a.Err != nil {
		if apierr.IsInternal(a.Err) {
			h.log.Error("watch failed", "request_id", intercept.RequestID(ctx), "err", a.Err)
		}
		response.Error = apierr.ToProto(a.Err, intercept.RequestID(ctx))
	}
	if len(a.Events) > 0 {
		response.Events = make([]*flotillav1.Event, len(a.Events))
		for i, e := range a.Events {
			response.Events[i] = watch.EventProto(e, a.PrevKV)
		}
	}
	return response
}
