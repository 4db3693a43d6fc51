package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// requestsMax bounds the requests of a source that wait to be written. Who brings
// more waits.
const requestsMax = 64

var errSourceClosed = errors.New("the watches are closed")

// watchSource is the watches of one caller on another node: it implements
// shards.WatchSource.
type watchSource struct {
	node   string
	stream internalv1.PeerService_WatchClient
	cancel context.CancelCauseFunc
	done   func()

	requests chan *internalv1.WatchRequest
	// all holds a token when progress of all is to be asked for.
	all    chan struct{}
	writer sync.WaitGroup
	closed sync.Once
}

// OpenWatches opens watches on the replicas of a node, for an owner, whose
// Namespace does not matter. ctx bounds the opening; they end with Close. Its error
// is *shards.UnreachableError.
func (p *Pool) OpenWatches(ctx context.Context, node string, owner watch.Owner, progress time.Duration) (shards.WatchSource, error) {
	l, err := p.link(node)
	if err != nil {
		return nil, err
	}
	conn, done, err := l.watching()
	if err != nil {
		return nil, err
	}
	streamCtx, cancel := context.WithCancelCause(l.ctx)
	late := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	slow := time.AfterFunc(p.cfg.ConnectTimeout, func() { cancel(errSilent) })
	stream, err := internalv1.NewPeerServiceClient(conn).Watch(streamCtx)
	if err == nil {
		err = stream.Send(&internalv1.WatchRequest{Request: &internalv1.WatchRequest_Open{Open: &internalv1.WatchOpen{
			Tenant: string(owner.Tenant), WatchesMax: uint64(max(0, owner.WatchesMax)), StreamsMax: uint64(max(0, owner.StreamsMax)),
			ProgressIntervalMs: uint64(max(0, progress.Milliseconds())),
		}}})
	}
	if err == nil {
		if header, headerErr := stream.Header(); header == nil || headerErr != nil {
			_, err = stream.Recv() // tells why
		}
	}
	if !late() {
		cancel(context.Cause(ctx)) // it is about to be done, or was
	}
	if !slow.Stop() {
		cancel(errSilent)
	}
	if cause := context.Cause(streamCtx); cause != nil {
		err = cause
	}
	if err != nil {
		cancel(err)
		done()
		return nil, unreachable(node, err)
	}
	s := &watchSource{
		node: node, stream: stream, cancel: cancel, done: done,
		requests: make(chan *internalv1.WatchRequest, requestsMax), all: make(chan struct{}, 1),
	}
	s.writer.Go(s.write)
	return s, nil
}

// write writes the requests.
func (s *watchSource) write() {
	for {
		var request *internalv1.WatchRequest
		select {
		case request = <-s.requests:
		case <-s.all:
			request = &internalv1.WatchRequest{Request: &internalv1.WatchRequest_ProgressAll{ProgressAll: true}}
		case <-s.stream.Context().Done():
			return
		}
		if err := s.stream.Send(request); err != nil {
			return // Receive tells why
		}
	}
}

// ask has a request written.
func (s *watchSource) ask(request *internalv1.WatchRequest) error {
	ctx := s.stream.Context()
	select {
	case s.requests <- request:
		return nil
	case <-ctx.Done():
		return unreachable(s.node, context.Cause(ctx))
	}
}

// Begin implements shards.WatchSource.
func (s *watchSource) Begin(shard shards.ShardID, ns tenancy.NamespaceID, spec watch.Spec) error {
	begin := encodeSpec(&spec)
	begin.ShardId, begin.NamespaceId = uint64(shard), uint64(ns)
	return s.ask(&internalv1.WatchRequest{Request: &internalv1.WatchRequest_Begin{Begin: begin}})
}

// Cancel implements shards.WatchSource.
func (s *watchSource) Cancel(id int64) error {
	return s.ask(&internalv1.WatchRequest{Request: &internalv1.WatchRequest_CancelId{CancelId: id}})
}

// Progress implements shards.WatchSource.
func (s *watchSource) Progress(id int64) error {
	return s.ask(&internalv1.WatchRequest{Request: &internalv1.WatchRequest_ProgressId{ProgressId: id}})
}

// ProgressAll implements shards.WatchSource.
func (s *watchSource) ProgressAll() {
	select {
	case s.all <- struct{}{}:
	default: // it is to be asked already
	}
}

// Receive implements shards.WatchSource.
func (s *watchSource) Receive() ([]watch.Answer, error) {
	message, err := s.stream.Recv()
	if err != nil {
		return nil, unreachable(s.node, fmt.Errorf("the watches have ended: %w", err))
	}
	answers := make([]watch.Answer, len(message.GetAnswers()))
	for i, a := range message.GetAnswers() {
		answers[i] = decodeWatchAnswer(s.node, a)
	}
	return answers, nil
}

// Close implements shards.WatchSource.
func (s *watchSource) Close() {
	s.closed.Do(func() {
		s.cancel(errSourceClosed)
		s.writer.Wait()
		s.done()
	})
}
