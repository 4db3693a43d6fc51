package conformance

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/flotillakv/flotilla/tests/process"
)

func TestMain(m *testing.M) {
	code := process.Main(m)
	if tools.dir != "" {
		_ = os.RemoveAll(tools.dir)
	}
	os.Exit(code)
}

// side is one of the two servers as a group of cases sees it: an etcd of its
// own, or a namespace of the Flotilla node of its own.
type side struct {
	name     string
	endpoint string
	// user and password are empty where they are not needed.
	user, password string
}

// startTimeout bounds the start of an etcd.
const startTimeout = time.Minute

// startEtcd starts an etcd within this process, which ends with the test.
func startEtcd(t *testing.T) side {
	t.Helper()
	return startEtcdOn(t, t.TempDir())
}

// startEtcdOn starts an etcd on a data directory.
func startEtcdOn(t *testing.T, dir string) side {
	t.Helper()
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.LogLevel = "panic"
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	loopback := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.ListenClientUrls, cfg.ListenPeerUrls = []url.URL{loopback}, []url.URL{loopback}
	cfg.WatchProgressNotifyInterval = progressInterval
	cfg.UnsafeNoFsync = true
	server, err := embed.StartEtcd(cfg)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	select {
	case <-server.Server.ReadyNotify():
	case <-time.After(startTimeout):
		require.FailNow(t, "etcd is not ready")
	}
	return side{name: "etcd", endpoint: "http://" + server.Clients[0].Addr().String()}
}

// progressInterval is how often watches that ask for it are told the revision.
const progressInterval = 500 * time.Millisecond

// startFlotilla starts a node, which ends with the test.
func startFlotilla(t *testing.T) *process.Process {
	t.Helper()
	return process.Dev(t, "--etcd-watch-progress-interval", progressInterval.String())
}

// newNamespace makes a namespace of the node for a group.
func newNamespace(t *testing.T, node *process.Process, name string) side {
	t.Helper()
	require.NoError(t, node.Client(t).CreateNamespaces(t.Context(), name))
	return side{
		name: "flotilla", endpoint: node.Info.EtcdURL,
		user: node.Info.Tenant + "/" + name, password: node.Info.APIKey,
	}
}

// connect makes a client, which ends with the test.
func (s side) connect(t *testing.T) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{s.endpoint}, Username: s.user, Password: s.password,
		DialTimeout: callTimeout, Logger: zap.NewNop(),
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// etcdctl runs etcdctl against the side.
func (s side) etcdctlArgs(args ...string) []string {
	all := []string{"--endpoints=" + s.endpoint}
	if s.user != "" {
		all = append(all, "--user="+s.user, "--password="+s.password)
	}
	return append(all, args...)
}

// dataDir is a place for a file that a case makes.
func dataDir(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join(t.TempDir(), name)
}

// callTimeout bounds each case. All groups run at once, beside other packages, so
// a case that takes a second alone may take many.
const callTimeout = time.Minute

func callContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	t.Cleanup(cancel)
	return ctx
}
