package chaos

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	"github.com/flotillakv/flotilla/tests/process"
)

// A stream is one that is open at a node, and tells nothing unless it is asked.
type stream struct {
	name string
	// ask has it answer once.
	ask func() error
	// answers has a token after each answer.
	answers chan struct{}
	// ended has why the stream ended, and when, once it has.
	ended chan ending
}

type ending struct {
	err error
	at  time.Time
}

// openStreams opens a stream of each kind at each node with a tenant's credential, and
// waits until all of them have been let in.
func openStreams(t *testing.T, c *process.Cluster, credential string) []*stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	var list []*stream
	for node := range c.Nodes {
		// follow tells of a stream that was opened what comes, from its first answer on.
		follow := func(kind string, ask, receive func() error) {
			s := &stream{fmt.Sprintf("%s at n%d", kind, node+1), ask, make(chan struct{}, 1), make(chan ending, 1)}
			require.NoError(t, receive(), s.name)
			go s.follow(receive)
			list = append(list, s)
		}
		// Nobody else writes what a stream watches.
		key := fmt.Sprintf("%s/n%d/", strings.Split(credential, "_")[1], node+1)
		openAPIStreams(ctx, t, c.APIURLs(node)[0], credential, []byte(key+"api"), follow)
		openEtcdStreams(ctx, t, c.EtcdEndpoints()[node], credential, []byte(key+"etcd"), follow)
	}
	return list
}

// follow notes the answers of a stream until it ends.
func (s *stream) follow(receive func() error) {
	for {
		if err := receive(); err != nil {
			s.ended <- ending{err, time.Now()}
			return
		}
		s.answers <- struct{}{}
	}
}

func openAPIStreams(ctx context.Context, t *testing.T, url, credential string, key []byte, follow func(kind string, ask, receive func() error)) {
	t.Helper()
	client, with := http2Client(), connect.WithInterceptors(process.Bearer(credential))
	kv := flotillav1connect.NewKVServiceClient(client, url, with)

	watches, err := flotillav1connect.NewWatchServiceClient(client, url, with).Watch(ctx)
	require.NoError(t, err)
	require.NoError(t, watches.Send(&flotillav1.WatchRequest{Request: &flotillav1.WatchRequest_Create{
		Create: &flotillav1.WatchCreate{Target: &flotillav1.WatchCreate_Key{Key: key}},
	}}))
	follow("Watch", func() error {
		_, err := kv.Put(ctx, &flotillav1.PutRequest{Key: key})
		return err
	}, func() error { _, err := watches.Receive(); return err })

	pipeline, err := kv.Pipeline(ctx)
	require.NoError(t, err)
	get := func() error {
		return pipeline.Send(&flotillav1.PipelineRequest{Operations: []*flotillav1.Operation{{
			Operation: &flotillav1.Operation_Get{Get: &flotillav1.GetRequest{Key: key}},
		}}})
	}
	require.NoError(t, get())
	follow("Pipeline", get, func() error { _, err := pipeline.Receive(); return err })

	keepAlives, err := flotillav1connect.NewLeaseServiceClient(client, url, with).KeepAliveStream(ctx)
	require.NoError(t, err)
	keepAlive := func() error {
		return keepAlives.Send(&flotillav1.KeepAliveStreamRequest{KeepAlive: &flotillav1.KeepAliveRequest{Ids: []int64{1}}})
	}
	require.NoError(t, keepAlive())
	follow("KeepAliveStream", keepAlive, func() error { _, err := keepAlives.Receive(); return err })
}

func openEtcdStreams(ctx context.Context, t *testing.T, url, credential string, key []byte, follow func(kind string, ask, receive func() error)) {
	t.Helper()
	conn := dialEtcd(t, url)
	ctx = withToken(ctx, credential)

	watches, err := pb.NewWatchClient(conn).Watch(ctx)
	require.NoError(t, err)
	require.NoError(t, watches.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: key},
	}}))
	follow("etcd's Watch", func() error {
		_, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: key})
		return err
	}, func() error { _, err := watches.Recv(); return err })

	keepAlives, err := pb.NewLeaseClient(conn).LeaseKeepAlive(ctx)
	require.NoError(t, err)
	keepAlive := func() error { return keepAlives.Send(&pb.LeaseKeepAliveRequest{ID: 1}) }
	require.NoError(t, keepAlive())
	follow("LeaseKeepAlive", keepAlive, func() error { _, err := keepAlives.Recv(); return err })
}

func dialEtcd(t *testing.T, url string) *grpc.ClientConn {
	t.Helper()
	_, address, _ := strings.Cut(url, "://")
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func withToken(ctx context.Context, credential string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "token", credential)
}

// requireAnswers has each stream answer once. One that has ended does not.
func requireAnswers(t *testing.T, list []*stream) {
	t.Helper()
	for _, s := range list {
		require.NoError(t, s.ask(), s.name)
		select {
		case <-s.answers:
		case end := <-s.ended:
			require.NoError(t, end.err, s.name)
		case <-time.After(outageMax):
			require.FailNow(t, "a stream does not answer", s.name)
		}
	}
}
