package etcd

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/flotillakv/flotilla/gateway/route"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
)

// panicking is the stream of a caller whose every request is a panic.
type panicking struct{ watchServerStream }

func (panicking) Recv() (*pb.WatchRequest, error) { panic("recv") }

// What reads requests, and what sends answers, run on goroutines that no
// interceptor guards.
func TestAPanicOfAWatchEndsOneStream(t *testing.T) {
	t.Parallel()
	newStream := func() *watchStream {
		s := &Server{cfg: Config{StallMax: time.Minute}}
		w := &watchStream{
			Server: s, grpc: panicking{}, caller: &caller{}, sends: newGuard(time.Minute),
			watches: route.NewKV(route.NewRouter(route.RouterConfig{}), nil).NewWatches(t.Context(), watch.StreamConfig{}),
		}
		t.Cleanup(w.watches.Close)
		return w
	}
	require.ErrorContains(t, newStream().receive(t.Context()), "panic: recv")
	w := newStream()
	w.watches.Refuse(noWatch, &mvcc.CompactedError{})
	require.ErrorContains(t, w.send(t.Context()), "panic", "the server has no node to ask for its term")
}
