package etcd

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/flotillakv/flotilla/gateway/route"
	"github.com/flotillakv/flotilla/shards/watch"
)

// deaf is the stream of a caller that asks without end, and takes no answers.
type deaf struct {
	watchServerStream
	ctx   context.Context //nolint:containedctx // what a stream is for
	asked atomic.Int64
}

func (u *deaf) Recv() (*pb.WatchRequest, error) {
	u.asked.Add(1)
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: []byte("b"), StartRevision: -1},
	}}, u.ctx.Err()
}

// Requests are read only while few answers wait.
func TestACallerThatTakesNoAnswersIsNotHeard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := newTestServer()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		u := &deaf{ctx: ctx}
		w := &watchStream{
			Server: s, grpc: u, caller: c, watches: route.NewKV(route.NewRouter(route.RouterConfig{}), nil).NewWatches(t.Context(), watch.StreamConfig{}),
		}
		defer w.watches.Close()
		ended := make(chan error, 1)
		go func() { ended <- w.receive(ctx) }()
		synctest.Wait()
		require.Equal(t, int64(16), u.asked.Load())
		require.ErrorIs(t, <-ended, context.DeadlineExceeded)
	})
}
