package e2e

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/flotillakv/flotilla/ops/node"
	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// nodeThatCutsOff runs a node that ends streams of the etcd port which take
// nothing for so long. The secret is one of its callers'.
func nodeThatCutsOff(t *testing.T, stallMax time.Duration) (n *node.Node, secret string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	started, ended := make(chan *node.Node, 1), make(chan error, 1)
	cfg := node.Config{
		DataDir: filepath.Join(t.TempDir(), "data"), Bootstrap: true, DataShards: 4,
		Addresses: node.Addresses{ListenAPI: "127.0.0.1:0", ListenOps: "127.0.0.1:0", ListenEtcd: "127.0.0.1:0"},
	}
	cfg.Etcd.StallMax = stallMax
	go func() {
		ended <- node.Run(ctx, cfg, func(ctx context.Context, n *node.Node) error {
			client, err := createTenant(ctx, n, "slow")
			if err != nil {
				return err
			}
			if err := client.CreateNamespaces(ctx, "default"); err != nil {
				return err
			}
			_, secret, err = client.CreateAPIKey(ctx, flotilla.APIKeySpec{Description: "reader"})
			started <- n
			return errors.Join(err, client.Close())
		})
	}()
	n = <-started
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	return n, secret
}

// TestEtcdWatchThatIsNotRead leaves a watch unread while much is written. The
// stream is ended, such that a client begins it again; others are not held up,
// and memory stays bounded.
func TestEtcdWatchThatIsNotRead(t *testing.T) {
	t.Parallel()
	n, secret := nodeThatCutsOff(t, 2*time.Second)
	conn, slow := dialEtcd(t, n.EtcdURL()), dialEtcd(t, n.EtcdURL())
	token := withToken(t.Context(), "token", secret)
	all := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: 2},
	}}
	unread, err := pb.NewWatchClient(slow).Watch(token)
	require.NoError(t, err)
	require.NoError(t, unread.Send(all))
	kv := pb.NewKVClient(conn)
	const writes, valueBytes = 200, 256 << 10 // 50 MiB
	for range writes {
		_, err := kv.Put(token, &pb.PutRequest{Key: []byte("k"), Value: make([]byte, valueBytes)})
		require.NoError(t, err)
	}
	read, err := pb.NewWatchClient(conn).Watch(token)
	require.NoError(t, err)
	require.NoError(t, read.Send(all))
	for events := 0; events < writes; {
		answer, err := read.Recv()
		require.NoError(t, err)
		events += len(answer.GetEvents())
	}
	require.Eventually(t, func() bool { return openStreams(n.OpsURL()) == "1" }, 20*time.Second, 20*time.Millisecond,
		"the stream that is not read is still open")
	events := 0
	for {
		answer, err := unread.Recv()
		if err != nil {
			require.Equal(t, codes.Unavailable, status.Code(err), "clients begin again what is unavailable")
			break
		}
		events += len(answer.GetEvents())
	}
	require.Less(t, events, writes/2)
}

// openStreams is the number of open streams of watches, from the metrics.
func openStreams(opsURL string) string {
	response, err := http.Get(opsURL + "/metrics")
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	_, rest, ok := strings.Cut(string(body), `flotilla_etcd_open_streams{procedure="/etcdserverpb.Watch/Watch"} `)
	if !ok || err != nil {
		return "none yet"
	}
	count, _, _ := strings.Cut(rest, "\n")
	return count
}

// TestEtcdWatchThatAsksAndIsNotRead asks as fast as it can, and takes no
// answers: its stream is ended.
func TestEtcdWatchThatAsksAndIsNotRead(t *testing.T) {
	t.Parallel()
	n, secret := nodeThatCutsOff(t, 2*time.Second)
	unread, err := pb.NewWatchClient(dialEtcd(t, n.EtcdURL())).Watch(withToken(t.Context(), "token", secret))
	require.NoError(t, err)
	refused := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("a")},
	}}
	go func() {
		for unread.Send(refused) == nil { // it fails once the stream has ended
		}
	}()
	require.Eventually(t, func() bool { return openStreams(n.OpsURL()) == "0" }, 20*time.Second, 20*time.Millisecond,
		"the stream that is not read is still open")
	for err == nil {
		_, err = unread.Recv()
	}
	require.Equal(t, codes.Unavailable, status.Code(err), "clients begin again what is unavailable")
}
