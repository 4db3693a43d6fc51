package peer

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/flotillakv/flotilla/gateway/intercept"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

type watchStream = grpc.BidiStreamingServer[internalv1.WatchRequest, internalv1.WatchResponse]

// watches is one stream of another node's caller's watches. The other node gives
// each its id, and numbers from 0 or from 1 as its caller expects, so the id 0 is
// as good as any here.
type watches struct {
	*Server
	stream *watch.Stream
	owner  watch.Owner
}

// Watch implements PeerService. Requests are carried out on a goroutine of their
// own, answers sent on the RPC's.
func (s *Server) Watch(stream watchStream) error {
	if err := s.admit(stream.Context()); err != nil {
		return err
	}
	s.metrics.watches.Inc()
	defer s.metrics.watches.Dec()
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	open := first.GetOpen()
	if open == nil {
		s.metrics.malformed.Inc()
		return &mvcc.InvalidError{Field: "open", Message: "must come first"}
	}
	w := &watches{Server: s, stream: watch.NewStream(watch.StreamConfig{
		ProgressInterval: time.Duration(min(open.GetProgressIntervalMs(), uint64(time.Hour.Milliseconds()))) * time.Millisecond,
	}), owner: watch.Owner{
		Tenant:     tenancy.TenantID(open.GetTenant()),
		WatchesMax: int(open.GetWatchesMax()), StreamsMax: int(open.GetStreamsMax()),
	}}
	defer w.stream.Close()
	go func() { // ends with the stream
		err := w.receive(ctx, stream)
		cancel(err)
	}()
	stopped := context.AfterFunc(ctx, func() { w.stream.End(context.Cause(ctx)) })
	defer stopped()
	go func() {
		select {
		case <-s.stopping:
			w.stream.End(shards.ErrStopping)
		case <-ctx.Done():
		}
	}()
	err = w.send(ctx, stream)
	if errors.Is(err, io.EOF) || errors.Is(err, shards.ErrStopping) {
		return nil
	}
	return err
}

// receive carries out requests until there are no more.
func (w *watches) receive(ctx context.Context, stream watchStream) (err error) {
	defer intercept.Recovered(&err)
	for {
		if err := w.stream.Room(ctx); err != nil {
			return err
		}
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		switch r := message.GetRequest().(type) {
		case *internalv1.WatchRequest_Begin:
			if err := w.begin(ctx, r.Begin); err != nil {
				w.stream.Refuse(r.Begin.GetWatchId(), err)
			}
		case *internalv1.WatchRequest_CancelId:
			w.stream.Cancel(r.CancelId)
		case *internalv1.WatchRequest_ProgressId:
			w.stream.Progress(r.ProgressId)
		case *internalv1.WatchRequest_ProgressAll:
			w.stream.ProgressAll()
		default:
			w.metrics.malformed.Inc()
			return &mvcc.InvalidError{Field: "request", Message: "is none that this version knows"}
		}
	}
}

// begin begins a watch. A replica that does not lead catches up before: else the
// watch could show what was acknowledged before it began, or be told of a revision
// below one that its caller has seen.
func (w *watches) begin(ctx context.Context, p *internalv1.WatchBegin) error {
	shard := shards.ShardID(p.GetShardId())
	hub, err := w.cfg.Local.Watches(shard)
	if err != nil {
		return err
	}
	if !w.cfg.Local.Leads(shard) {
		ctx, cancel := context.WithTimeoutCause(ctx, currentMax, &shards.NotLeaderError{Shard: shard})
		defer cancel()
		if err := w.cfg.Local.Current(ctx, shard); err != nil {
			return err
		}
	}
	owner := w.owner
	owner.Namespace = tenancy.NamespaceID(p.GetNamespaceId())
	spec := decodeSpec(p)
	spec.Numbered = true
	return w.stream.Create(hub, owner, spec)
}

// send sends what the watches have to tell until they or the stream end.
func (w *watches) send(ctx context.Context, stream watchStream) error {
	var answers []watch.Answer
	var message internalv1.WatchResponse
	for {
		var err error
		if answers, err = w.stream.Next(ctx, answers[:0]); err != nil {
			return err
		}
		bytes := 0
		for i := range answers {
			message.Answers = append(message.Answers, encodeWatchAnswer(&answers[i]))
			bytes += sizeOf(&answers[i])
			if bytes < messageBytes && i < len(answers)-1 {
				continue
			}
			if err := stream.Send(&message); err != nil {
				return err
			}
			clear(message.GetAnswers())
			message.Answers, bytes = message.GetAnswers()[:0], 0
		}
		clear(answers) // what was sent is not kept while nothing happens
	}
}

// sizeOf is about how many bytes an answer takes.
func sizeOf(a *watch.Answer) int {
	n := operationOverheadBytes
	for _, e := range a.Events {
		n += operationOverheadBytes + len(e.Key) + len(e.Version.Value)
		if prev := e.PrevKV(); a.PrevKV && prev != nil {
			n += len(prev.GetKey()) + len(prev.GetValue())
		}
	}
	return n
}
