package etcd

import (
	"bytes"
	"context"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/route"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/watch"
)

// watchServer serves etcdserverpb.Watch.
type watchServer struct {
	pb.UnimplementedWatchServer
	*Server
}

type watchServerStream = grpc.BidiStreamingServer[pb.WatchRequest, pb.WatchResponse]

// watchStream is one stream of watches.
type watchStream struct {
	*Server
	grpc    watchServerStream
	caller  *caller
	watches *route.Watches
	encoder encoder
	sends   *guard
}

// Watch implements Watch.
func (s *watchServer) Watch(stream watchServerStream) error {
	ctx := stream.Context()
	c := callerFrom(ctx)
	w := &watchStream{Server: s.Server, grpc: stream, caller: c, sends: newGuard(s.cfg.StallMax)}
	w.watches = s.kv.NewWatches(ctx, watch.StreamConfig{
		ProgressInterval: s.cfg.ProgressInterval, FromZero: true,
		StillValid: s.door.auth.StillValid,
	})
	// Both end with the stream. An answer that is stuck is let go when this
	// function returns, which is why it does not wait for them.
	received, sent := make(chan error, 1), make(chan error, 1)
	go func() { received <- w.receive(ctx) }()
	go func() {
		defer w.watches.Close()
		sent <- w.send(ctx)
	}()
	for {
		select {
		case err := <-received:
			if errors.Is(err, io.EOF) { // it asks no more, and still listens
				received = nil
				continue
			}
			return watchEnd(err)
		case err := <-sent:
			return watchEnd(err)
		case <-ctx.Done():
			return watchEnd(ctx.Err())
		case <-s.stopping:
			return shards.ErrStopping
		case <-w.sends.stalled.C:
			return w.sends.stall("the watch")
		}
	}
}

// watchEnd is the error that ends a stream: etcd has its own for a caller that
// left.
func watchEnd(err error) error {
	if errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled {
		return rpctypes.ErrGRPCWatchCanceled
	}
	return err
}

// receive carries out what the caller asks, until it asks no more. What is
// asked without a meaning is passed over, as in etcd.
func (w *watchStream) receive(ctx context.Context) (err error) {
	defer intercept.Recovered(&err)
	for {
		if err := w.watches.Room(ctx); err != nil {
			return err
		}
		r, err := w.grpc.Recv()
		if err != nil {
			return err
		}
		switch union := r.GetRequestUnion().(type) {
		case *pb.WatchRequest_CreateRequest:
			w.create(ctx, union.CreateRequest)
		case *pb.WatchRequest_CancelRequest:
			w.watches.Cancel(union.CancelRequest.GetWatchId())
		case *pb.WatchRequest_ProgressRequest:
			w.watches.Progress(0)
		}
	}
}

// What refuses a watch, beside the errors of the table. etcd tells the reason in
// these words.
var (
	errEmptyRange      = errors.New("mvcc: watcher range is empty")
	errDuplicateID     = errors.New("mvcc: duplicate watch ID provided on the WatchStream")
	errStartRevision   = rpctypes.ErrCompacted
	errWatchPermission = rpctypes.ErrGRPCPermissionDenied
)

func (w *watchStream) create(ctx context.Context, r *pb.WatchCreateRequest) {
	key, end := r.GetKey(), r.GetRangeEnd()
	if len(key) == 0 {
		key = []byte{0} // the least key
	}
	switch {
	case r.GetStartRevision() < 0:
		w.watches.Refuse(noWatch, errStartRevision)
		return
	case len(end) > 0 && !isFromKey(end) && bytes.Compare(key, end) >= 0:
		w.watches.Refuse(noWatch, errEmptyRange)
		return
	}
	request := &flotillav1.WatchCreate{
		Namespace: w.caller.namespace, WatchId: r.GetWatchId(), StartRevision: uint64(r.GetStartRevision()),
		PrevKv: r.GetPrevKv(), Fragment: r.GetFragment(), ProgressNotify: r.GetProgressNotify(),
	}
	for _, filter := range r.GetFilters() {
		switch filter {
		case pb.WatchCreateRequest_NOPUT:
			request.NoPut = true
		case pb.WatchCreateRequest_NODELETE:
			request.NoDelete = true
		}
	}
	if len(end) == 0 {
		request.Target = &flotillav1.WatchCreate_Key{Key: key}
	} else {
		request.Target = &flotillav1.WatchCreate_Range{Range: keyRange(key, end)}
	}
	w.watches.Create(ctx, request)
}
