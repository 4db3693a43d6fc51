package isolation

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/flotillakv/flotilla/proto/gen/etcd/v3electionpb"
	"github.com/flotillakv/flotilla/proto/gen/etcd/v3lockpb"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

const (
	// endPromised is how long a stream may outlive its credential. The log names those
	// that took longer.
	endPromised = 2 * time.Second
	// endMax is the same on a machine that is as busy as can be.
	endMax = 20 * time.Second
)

// opened is a stream that was opened, and why it ended, once it has.
type opened struct {
	name  string
	ended chan error
}

// openStreams opens one stream of each kind on both ports with a credential, and
// leaves them alone: none of them has anything to tell any more.
func openStreams(t *testing.T, owner, credential string) []opened {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	var list []opened
	open := func(name string, receive func() error) {
		o := opened{name, make(chan error, 1)}
		go func() {
			for {
				if err := receive(); err != nil {
					o.ended <- err
					return
				}
			}
		}()
		list = append(list, o)
	}
	s := as(credential)
	key := []byte("quiet")

	watches, err := s.watches.Watch(ctx)
	require.NoError(t, err)
	require.NoError(t, watches.Send(watchCreate(&flotillav1.WatchCreate{Target: &flotillav1.WatchCreate_Key{Key: key}})))
	_, err = watches.Receive()
	require.NoError(t, err)
	open("Watch", func() error { _, err := watches.Receive(); return err })

	one, err := s.watches.WatchOne(ctx, &flotillav1.WatchOneRequest{Watch: &flotillav1.WatchCreate{Target: &flotillav1.WatchCreate_Key{Key: key}}})
	require.NoError(t, err)
	require.True(t, one.Receive(), "%v", one.Err())
	open("WatchOne", func() error {
		if one.Receive() {
			return nil
		}
		return fmt.Errorf("the watch ended: %w", one.Err())
	})

	pipeline, err := s.kv.Pipeline(ctx)
	require.NoError(t, err)
	require.NoError(t, pipeline.Send(&flotillav1.PipelineRequest{Operations: []*flotillav1.Operation{putOperation([]byte("other"))}}))
	_, err = pipeline.Receive()
	require.NoError(t, err)
	open("Pipeline", func() error { _, err := pipeline.Receive(); return err })

	keepAlive, err := s.leases.KeepAliveStream(ctx)
	require.NoError(t, err)
	require.NoError(t, keepAlive.Send(&flotillav1.KeepAliveStreamRequest{KeepAlive: &flotillav1.KeepAliveRequest{Ids: []int64{1}}}))
	_, err = keepAlive.Receive()
	require.NoError(t, err)
	open("KeepAliveStream", func() error { _, err := keepAlive.Receive(); return err })

	request, err := http.NewRequestWithContext(ctx, http.MethodGet, shared.node.APIURL()+"/v1/kv/quiet?watch=true", http.NoBody)
	require.NoError(t, err)
	request.Header.Set("Authorization", bearer(credential).header())
	events, err := http1("").Do(request)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, events.StatusCode)
	open("server-sent events", func() error {
		defer events.Body.Close()
		_, err := io.Copy(io.Discard, events.Body)
		return fmt.Errorf("the events ended: %w", err)
	})
	openEtcdStreams(ctx, t, owner, credential, open)
	return list
}

// openEtcdStreams opens those of the etcd port, by open. Locks and candidates wait for
// the tenant's owner.
func openEtcdStreams(ctx context.Context, t *testing.T, owner, credential string, open func(string, func() error)) {
	t.Helper()
	conn := dialEtcd(t, "").conn
	mine, its := withToken(ctx, credential), withToken(ctx, owner)
	watches, err := pb.NewWatchClient(conn).Watch(mine)
	require.NoError(t, err)
	require.NoError(t, watches.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("quiet")}}}))
	_, err = watches.Recv()
	require.NoError(t, err)
	open("etcd's Watch", func() error { _, err := watches.Recv(); return err })

	keepAlive, err := pb.NewLeaseClient(conn).LeaseKeepAlive(mine)
	require.NoError(t, err)
	require.NoError(t, keepAlive.Send(&pb.LeaseKeepAliveRequest{ID: 1}))
	_, err = keepAlive.Recv()
	require.NoError(t, err)
	open("LeaseKeepAlive", func() error { _, err := keepAlive.Recv(); return err })

	invoke := func(ctx context.Context, method string, request, response any) error {
		return conn.Invoke(ctx, method, request, response)
	}
	require.NoError(t, invoke(its, "/v3lockpb.Lock/Lock", &v3lockpb.LockRequest{Name: []byte("held")}, &v3lockpb.LockResponse{}))
	require.NoError(t, invoke(its, "/v3electionpb.Election/Campaign", &v3electionpb.CampaignRequest{Name: []byte("led")}, &v3electionpb.CampaignResponse{}))
	open("Lock", func() error {
		return invoke(mine, "/v3lockpb.Lock/Lock", &v3lockpb.LockRequest{Name: []byte("held")}, &v3lockpb.LockResponse{})
	})
	open("Campaign", func() error {
		return invoke(mine, "/v3electionpb.Election/Campaign", &v3electionpb.CampaignRequest{Name: []byte("led")}, &v3electionpb.CampaignResponse{})
	})
	for _, queue := range []string{"held/", "led/"} {
		require.Eventually(t, func() bool {
			waiting, err := pb.NewKVClient(conn).Range(its, &pb.RangeRequest{Key: []byte(queue), RangeEnd: endOf(queue), CountOnly: true})
			return err == nil && waiting.GetCount() == 2
		}, waitMax, time.Millisecond)
	}
	observe, err := conn.NewStream(mine, &grpc.StreamDesc{ServerStreams: true}, "/v3electionpb.Election/Observe")
	require.NoError(t, err)
	require.NoError(t, observe.SendMsg(&v3electionpb.LeaderRequest{Name: []byte("led")}))
	require.NoError(t, observe.CloseSend())
	require.NoError(t, observe.RecvMsg(&v3electionpb.LeaderResponse{}))
	open("Observe", func() error { return observe.RecvMsg(&v3electionpb.LeaderResponse{}) })
}

// requireEnded waits until all streams have ended, whose credential has ended now.
func requireEnded(t *testing.T, list []opened) {
	t.Helper()
	began, late := time.Now(), time.After(endMax)
	for _, o := range list {
		select {
		case err := <-o.ended:
			require.Error(t, err, o.name)
			if took := time.Since(began); took > endPromised {
				t.Logf("%s ended after %s or sooner", o.name, took.Round(time.Millisecond))
			}
		case <-late:
			require.FailNow(t, "a stream outlives its credential", o.name)
		}
	}
	t.Logf("the last of %d streams ended after %s", len(list), time.Since(began).Round(time.Millisecond))
}

// requireOpen tells that no stream has ended.
func requireOpen(t *testing.T, list []opened) {
	t.Helper()
	for _, o := range list {
		select {
		case err := <-o.ended:
			require.NoError(t, err, "%s ended too early", o.name)
		default:
		}
	}
}
