package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/flotillakv/flotilla/ops/node"
	flotilla "github.com/flotillakv/flotilla/sdk/go"
	"github.com/flotillakv/flotilla/tests/process"
)

// dialEtcd connects to the etcd port of a node, without anybody's name.
func dialEtcd(t *testing.T, url string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	if len(opts) == 0 {
		opts = []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	}
	_, address, _ := strings.Cut(url, "://")
	conn, err := grpc.NewClient("passthrough:///"+address, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func withToken(ctx context.Context, field, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, field, token)
}

// TestEtcdNames names callers in every way that there is.
func TestEtcdNames(t *testing.T) {
	t.Parallel()
	dev := process.Dev(t)
	ctx := t.Context()
	require.NoError(t, dev.Client(t).CreateNamespaces(ctx, "other"))
	conn := dialEtcd(t, dev.Info.EtcdURL)
	kv, users := pb.NewKVClient(conn), pb.NewAuthClient(conn)

	key := dev.Info.APIKey
	id, secret := strings.Split(key, "_")[1], strings.Split(key, "_")[2]
	for _, login := range []struct{ name, password, namespace string }{
		{id, secret, "default"},
		{id, key, "default"},
		{"dev/default", key, "default"},
		{"dev/other", key, "other"},
		{"dev/other/" + id, secret, "other"},
		{"dev/other/" + id, key, "other"},
	} {
		answer, err := users.Authenticate(ctx, &pb.AuthenticateRequest{Name: login.name, Password: login.password})
		require.NoError(t, err, login.name)
		for _, field := range []string{"token", "authorization"} {
			_, err = kv.Put(withToken(ctx, field, answer.GetToken()), &pb.PutRequest{Key: []byte(field + login.name), Value: []byte("1")})
			require.NoError(t, err, login.name)
		}
		got, err := dev.Client(t).Namespace(login.namespace).KV.Get(ctx, "token"+login.name, nil)
		require.NoError(t, err)
		require.Equal(t, "1", string(got.Value))
	}
	_, err := kv.Put(withToken(ctx, "authorization", "Bearer "+key), &pb.PutRequest{Key: []byte("k")})
	require.NoError(t, err, "an API key is a token too")
	_, err = kv.Put(ctx, &pb.PutRequest{Key: []byte("anonymous")})
	require.NoError(t, err)
	_, err = dev.Client(t).Namespace("default").KV.Get(ctx, "anonymous", nil)
	require.NoError(t, err)

	for _, login := range []struct{ name, password string }{
		{"", ""},
		{id, ""},
		{id, "wrong"},
		{id, strings.Repeat("a", len(secret))},
		{"dev/default", secret},
		{"dev/default", ""},
		{"nobody/default", key},
		{"nobody/default/" + id, secret},
		{strings.Repeat("a", len(id)), secret},
		{strings.Repeat("a", len(id)), key},
		{"dev/Default", key},
		{"dev/default/x", key},
		{"a/b/c/d", key},
		{"dev/default/", key},
		{"root", "root"},
	} {
		_, err := users.Authenticate(ctx, &pb.AuthenticateRequest{Name: login.name, Password: login.password})
		require.Equal(t, rpctypes.ErrAuthFailed, rpctypes.Error(err), login.name)
	}
	_, err = users.Authenticate(ctx, &pb.AuthenticateRequest{Name: "dev/none", Password: key})
	require.Equal(t, codes.NotFound, status.Code(err))
	for _, token := range []string{"x", "flk_", key[:len(key)-1], key + "@", key + "@None", "@default", key + "@default@default"} {
		_, err := kv.Range(withToken(ctx, "token", token), &pb.RangeRequest{Key: []byte("k")})
		require.Equal(t, rpctypes.ErrInvalidAuthToken, rpctypes.Error(err), token)
	}
	_, err = users.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "me"})
	require.Equal(t, codes.Unimplemented, status.Code(err))
	require.ErrorContains(t, err, "flotilla key create")
	require.NotContains(t, dev.Output()[strings.Index(dev.Output(), "Ctrl-C"):], secret, "a secret is logged")
}

// TestEtcdNobody asks a node that lets nobody in without a name.
func TestEtcdNobody(t *testing.T) {
	t.Parallel()
	url := make(chan string, 1)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	cfg := node.Config{
		DataDir: filepath.Join(t.TempDir(), "data"), Bootstrap: true, DataShards: 4,
		Addresses: node.Addresses{ListenAPI: "127.0.0.1:0", ListenOps: "127.0.0.1:0", ListenEtcd: "127.0.0.1:0"},
	}
	go func() {
		ended <- node.Run(ctx, cfg, func(_ context.Context, n *node.Node) error {
			url <- n.EtcdURL()
			return nil
		})
	}()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	conn := dialEtcd(t, <-url)
	_, err := pb.NewKVClient(conn).Range(t.Context(), &pb.RangeRequest{Key: []byte("k")})
	require.Equal(t, rpctypes.ErrUserEmpty, rpctypes.Error(err))
	watch, err := pb.NewWatchClient(conn).Watch(t.Context())
	require.NoError(t, err)
	_, err = watch.Recv()
	require.Equal(t, rpctypes.ErrUserEmpty, rpctypes.Error(err))
	health, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), new(grpc_health_v1.HealthCheckRequest))
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, health.GetStatus())
}

// TestEtcdPortTaken starts nodes on a port that somebody else has: one that was
// not asked for is left to them.
func TestEtcdPortTaken(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	cfg := node.Config{
		DataDir: filepath.Join(t.TempDir(), "data"), Bootstrap: true, DataShards: 4,
		Addresses: node.Addresses{ListenAPI: "127.0.0.1:0", ListenOps: "127.0.0.1:0", ListenEtcd: taken.Addr().String()},
	}
	ready := func(_ context.Context, n *node.Node) error {
		require.NotEqual(t, "http://"+taken.Addr().String(), n.EtcdURL())
		return errEnough
	}
	require.ErrorContains(t, node.Run(t.Context(), cfg, ready), "--listen-etcd")
	cfg.EtcdPortOptional = true
	require.ErrorIs(t, node.Run(t.Context(), cfg, ready), errEnough)
}

var errEnough = errors.New("enough was seen")

// TestEtcdRevokedKey revokes a key while a watch of it is open.
func TestEtcdRevokedKey(t *testing.T) {
	t.Parallel()
	dev := process.Dev(t)
	admin := dev.Client(t)
	info, secret, err := admin.CreateAPIKey(t.Context(), flotilla.APIKeySpec{Description: "to be revoked"})
	require.NoError(t, err)
	conn := dialEtcd(t, dev.Info.EtcdURL)
	ctx := withToken(t.Context(), "token", secret)
	watch, err := pb.NewWatchClient(conn).Watch(ctx)
	require.NoError(t, err)
	require.NoError(t, watch.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")},
	}}))
	created, err := watch.Recv()
	require.NoError(t, err)
	require.True(t, created.GetCreated())
	keepAlive, err := pb.NewLeaseClient(conn).LeaseKeepAlive(ctx)
	require.NoError(t, err)

	require.NoError(t, admin.RevokeAPIKey(t.Context(), info.ID))
	_, err = pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte("k")})
	require.Equal(t, rpctypes.ErrInvalidAuthToken, rpctypes.Error(err))
	_, err = watch.Recv()
	require.Equal(t, rpctypes.ErrInvalidAuthToken, rpctypes.Error(err))
	_ = keepAlive.Send(&pb.LeaseKeepAliveRequest{ID: 1}) // it may have ended already
	_, err = keepAlive.Recv()
	require.Equal(t, rpctypes.ErrInvalidAuthToken, rpctypes.Error(err))
}

// TestEtcdStop stops a node on which streams and a lock are waited on. All are
// told to go on elsewhere, and none holds up the stop.
func TestEtcdStop(t *testing.T) {
	t.Parallel()
	dev := process.Dev(t)
	conn := dialEtcd(t, dev.Info.EtcdURL)
	watch, err := pb.NewWatchClient(conn).Watch(t.Context())
	require.NoError(t, err)
	require.NoError(t, watch.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")},
	}}))
	_, err = watch.Recv()
	require.NoError(t, err)
	keepAlive, err := pb.NewLeaseClient(conn).LeaseKeepAlive(t.Context())
	require.NoError(t, err)
	require.NoError(t, keepAlive.Send(&pb.LeaseKeepAliveRequest{ID: 1}))
	_, err = keepAlive.Recv()
	require.NoError(t, err)
	health, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), new(grpc_health_v1.HealthCheckRequest))
	require.NoError(t, err)
	_, err = health.Recv()
	require.NoError(t, err)

	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		dev.Stop(t)
	}()
	for what, receive := range map[string]func() error{
		"watch":      func() error { _, err := watch.Recv(); return err },
		"keep alive": func() error { _, err := keepAlive.Recv(); return err },
	} {
		require.Equal(t, rpctypes.ErrStopped, rpctypes.Error(receive()), what)
	}
	<-stopped
}

// TestEtcdGarbage sends what is no request. Only the stream that it comes on is
// closed.
func TestEtcdGarbage(t *testing.T) {
	t.Parallel()
	dev := process.Dev(t)
	conn := dialEtcd(t, dev.Info.EtcdURL)
	good, err := pb.NewWatchClient(conn).Watch(t.Context())
	require.NoError(t, err)
	require.NoError(t, good.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")},
	}}))
	_, err = good.Recv()
	require.NoError(t, err)

	for _, method := range []string{
		"/etcdserverpb.Watch/Watch", "/etcdserverpb.Lease/LeaseKeepAlive", "/etcdserverpb.KV/RangeStream",
		"/etcdserverpb.KV/Put", "/etcdserverpb.KV/Txn", "/v3lockpb.Lock/Lock", "/v3electionpb.Election/Observe",
	} {
		stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.ForceCodec(rawCodec{}))
		require.NoError(t, err)
		require.NoError(t, stream.SendMsg([]byte("\xff\xff\xff garbage")))
		_ = stream.CloseSend()
		var answer []byte
		err = stream.RecvMsg(&answer)
		require.Error(t, err, method)
		require.NotErrorIs(t, err, io.EOF, method)
		require.Contains(t, []codes.Code{codes.Internal, codes.InvalidArgument}, status.Code(err), "%s: %v", method, err)
	}
	_, err = pb.NewKVClient(conn).Put(t.Context(), &pb.PutRequest{Key: []byte("k")})
	require.NoError(t, err)
	event, err := good.Recv()
	require.NoError(t, err)
	require.Len(t, event.GetEvents(), 1)
}

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, errors.New("not bytes")
	}
	return b, nil
}

func (rawCodec) Unmarshal(data []byte, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return errors.New("not bytes")
	}
	*b = append([]byte(nil), data...)
	return nil
}

func (rawCodec) Name() string { return "proto" }

// TestEtcdCertificates lets clients in by their certificates.
func TestEtcdCertificates(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	dir := t.TempDir()
	write := func(name string, blocks ...*pem.Block) string {
		path := filepath.Join(dir, name)
		var data []byte
		for _, block := range blocks {
			data = append(data, pem.EncodeToMemory(block)...)
		}
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	server, serverKey := ca.issue(t, "node")
	dev := process.Dev(t, "--etcd-cert-file", write("cert", server), "--etcd-key-file", write("key", serverKey),
		"--etcd-client-ca-file", write("ca", ca.certificate))
	require.True(t, strings.HasPrefix(dev.Info.EtcdURL, "https://"))
	require.NoError(t, dev.Client(t).CreateNamespaces(t.Context(), "other"))
	id := strings.Split(dev.Info.APIKey, "_")[1]
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pem.EncodeToMemory(ca.certificate)))
	put := func(from *authority, name string) error {
		cfg := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, ServerName: "127.0.0.1"}
		if from != nil {
			certificate, key := from.issue(t, name)
			pair, err := tls.X509KeyPair(pem.EncodeToMemory(certificate), pem.EncodeToMemory(key))
			require.NoError(t, err)
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		conn := dialEtcd(t, dev.Info.EtcdURL, grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
		_, err := pb.NewKVClient(conn).Put(t.Context(), &pb.PutRequest{Key: []byte("by " + name)})
		return err
	}
	require.NoError(t, put(ca, id))
	_, err := dev.Client(t).Namespace("default").KV.Get(t.Context(), "by "+id, nil)
	require.NoError(t, err)
	require.NoError(t, put(ca, "dev/other/"+id))
	_, err = dev.Client(t).Namespace("other").KV.Get(t.Context(), "by dev/other/"+id, nil)
	require.NoError(t, err)
	require.Equal(t, rpctypes.ErrAuthFailed, rpctypes.Error(put(ca, "somebody")))
	require.Equal(t, rpctypes.ErrAuthFailed, rpctypes.Error(put(ca, "nobody/default/"+id)))
	require.Equal(t, rpctypes.ErrAuthFailed, rpctypes.Error(put(ca, strings.Repeat("a", len(id)))))
	require.Equal(t, codes.Unavailable, status.Code(put(newAuthority(t), id)), "another authority's")
	require.NoError(t, put(nil, "nobody"), "dev lets callers on this machine in")
}

// authority signs certificates.
type authority struct {
	parsed      *x509.Certificate
	key         *ecdsa.PrivateKey
	certificate *pem.Block
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{parsed: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a.certificate = a.sign(t, a.parsed, &a.key.PublicKey)
	return a
}

func (a *authority) sign(t *testing.T, template *x509.Certificate, key *ecdsa.PublicKey) *pem.Block {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.parsed, key, a.key)
	require.NoError(t, err)
	return &pem.Block{Type: "CERTIFICATE", Bytes: der}
}

// issue makes a certificate for a name, good for servers and clients.
func (a *authority) issue(t *testing.T, name string) (certificate, key *pem.Block) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, &private.PublicKey), &pem.Block{Type: "PRIVATE KEY", Bytes: der}
}
