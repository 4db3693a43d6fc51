package e2e

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/ops/cert"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	flotilla "github.com/flotillakv/flotilla/sdk/go"
	"github.com/flotillakv/flotilla/tests/process"
)

// copyDir makes a copy of a data directory, as an operator might.
func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.CopyFS(to, os.DirFS(from)))
	return to
}

// TestNodesThatMustNotJoin starts what an operator may start by mistake. Each is
// refused with what to do, and the cluster goes on as before.
func TestNodesThatMustNotJoin(t *testing.T) {
	t.Parallel()
	c := process.NewCluster(t, 1, "--data-shards", "1")
	other := process.NewCluster(t, 1, "--data-shards", "1")
	empty := func() string { return filepath.Join(t.TempDir(), "data") }

	t.Run("nobody at the address", func(t *testing.T) {
		said := c.Refused(t, "--node-name", "n2", "--data-dir", empty(), "--join", "127.0.0.1:1", "--join-timeout", "2s")
		require.Contains(t, said, "none of the addresses of --join answers")
		require.Contains(t, said, "127.0.0.1:1")
	})
	t.Run("neither bootstrap nor join", func(t *testing.T) {
		require.Contains(t, c.Refused(t, "--node-name", "n2", "--data-dir", empty()), "--bootstrap")
	})
	t.Run("bootstrap and join", func(t *testing.T) {
		said := c.Refused(t, "--node-name", "n2", "--data-dir", empty(), "--bootstrap", "--join", c.PeerAddress(0))
		require.Contains(t, said, "take one of them")
	})
	t.Run("a node of another cluster", func(t *testing.T) {
		stranger := other.Add(t)
		stranger.Stop(t)
		said := c.Refused(t, "--node-name", "n2", "--data-dir", stranger.DataDir, "--join", c.PeerAddress(0))
		require.Contains(t, said, "belongs to cluster")
		require.Contains(t, said, "use another directory")
	})
	t.Run("two clusters", func(t *testing.T) {
		said := c.Refused(t, "--node-name", "n2", "--data-dir", empty(), "--join", c.PeerAddress(0)+","+other.PeerAddress(0))
		require.Contains(t, said, "two clusters")
	})
	t.Run("a name that is taken", func(t *testing.T) {
		said := c.Refused(t, "--node-name", "n1", "--data-dir", empty(), "--join", c.PeerAddress(0))
		require.Contains(t, said, "choose another name")
	})
	t.Run("a copied data directory", func(t *testing.T) {
		said := c.Refused(t, "--node-name", "n1", "--data-dir", copyDir(t, c.Nodes[0].DataDir))
		require.Contains(t, said, "is a copy")
	})
	t.Run("a second bootstrap of the same directory", func(t *testing.T) {
		// The directory is what counts: it is the same node of the same cluster.
		before := c.Status(0)
		require.NotNil(t, before)
		c.Nodes[0].Stop(t)
		c.Nodes[0].Start(t)
		require.Equal(t, before.NodeID, c.Status(0).NodeID)
	})
	client := c.Client(t, 0)
	_, err := client.Namespace("default").KV.Put(t.Context(), "still", []byte("here"), nil)
	require.NoError(t, err)
}

// TestGatewayWithoutReplicas serves everything from a node that hosts nothing:
// reads, writes, watches, leases, and the etcd v3 API.
func TestGatewayWithoutReplicas(t *testing.T) {
	t.Parallel()
	c := process.NewCluster(t, 1, "--data-shards", "2")
	c.Add(t, "--roles", "gateway")
	status := c.Status(1)
	require.NotNil(t, status)
	require.Empty(t, status.Shards)

	client, err := flotilla.New(flotilla.Config{URL: c.APIURLs(1)[0], APIKey: c.Info.APIKey})
	require.NoError(t, err)
	defer client.Close()
	ns := client.Namespace("default")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	first, err := ns.KV.Put(ctx, "a", []byte("1"), nil)
	require.NoError(t, err)
	lease, err := ns.Leases.Hold(ctx, 10*time.Second, nil)
	require.NoError(t, err)
	_, err = ns.KV.Put(ctx, "a", []byte("2"), &flotilla.PutOptions{Lease: lease.ID()})
	require.NoError(t, err)
	seen := 0
	for event, err := range ns.KV.Watch(ctx, flotilla.OneKey("a"), &flotilla.WatchOptions{From: first.Revision}) {
		require.NoError(t, err)
		seen++
		if seen == 2 {
			require.NoError(t, lease.Revoke(ctx)) // and its key goes
		}
		if event.Deleted {
			break
		}
	}
	require.Equal(t, 3, seen)

	// One that could go to the node that leads is told where that is.
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	raw := flotillav1connect.NewKVServiceClient(&http.Client{Transport: &http.Transport{Protocols: protocols}}, c.APIURLs(1)[0],
		connect.WithInterceptors(process.Bearer(c.Info.APIKey)))
	stream, err := raw.Pipeline(ctx)
	require.NoError(t, err)
	require.NoError(t, stream.Send(&flotillav1.PipelineRequest{Operations: []*flotillav1.Operation{{
		Id: 1, Operation: &flotillav1.Operation_Put{Put: &flotillav1.PutRequest{Key: []byte("a"), Value: []byte("3")}},
	}}}))
	answer, err := stream.Receive()
	require.NoError(t, err)
	require.Len(t, answer.GetLeaders(), 1)
	require.Equal(t, "default", answer.GetLeaders()[0].GetNamespace())
	require.Equal(t, c.APIURLs(0)[0], answer.GetLeaders()[0].GetApiUrl())
	require.NoError(t, stream.CloseRequest())
}

// TestClusterOverTLS runs nodes with certificates of 'flotilla cert', and tries
// those that are none of theirs.
func TestClusterOverTLS(t *testing.T) {
	t.Parallel()
	home := process.NewHome(t)
	certs, foreign := filepath.Join(t.TempDir(), "certs"), filepath.Join(t.TempDir(), "foreign")
	run := func(args ...string) {
		result := home.Run(t, args...)
		require.Zero(t, result.Code, result.Stderr)
	}
	for _, dir := range []string{certs, foreign} {
		run("cert", "ca", "--dir", dir)
		for _, node := range []string{"n1", "n2", "n3"} {
			run("cert", "node", node, "--dir", dir)
		}
		run("cert", "client", "somebody", "--dir", dir)
	}
	c := process.NewCluster(t, 3, "--data-shards", "1", "--cert-dir", certs)
	c.WaitReplicated(t, 0, 3, time.Minute)

	ops := []string{"--ops-url", c.OpsURL(1), "--ca-file", filepath.Join(certs, "ca.crt")}
	nodes := home.Run(t, append([]string{"node", "list"}, ops...)...)
	require.Zero(t, nodes.Code, nodes.Stderr)
	require.Regexp(t, `(?m)^n1 +active +host,gateway .*\nn2 +active .*\nn3 +active `, nodes.Stdout)
	shards := home.Run(t, append([]string{"shard", "list"}, ops...)...)
	require.Zero(t, shards.Code, shards.Stderr)
	require.Regexp(t, `(?m)^2 +\d+ +\d+ +n1\*?, n2\*?, n3\*?$`, shards.Stdout)

	kv := c.Client(t, 0).Namespace("default").KV
	_, err := kv.Put(t.Context(), "a", []byte("1"), nil)
	require.NoError(t, err)
	suspicious, err := flotilla.New(flotilla.Config{URLs: c.APIURLs(0), APIKey: c.Info.APIKey, AttemptsMax: 1})
	require.NoError(t, err)
	defer suspicious.Close()
	_, err = suspicious.Namespace("default").KV.Get(t.Context(), "a", nil)
	require.ErrorContains(t, err, "certificate")
	for name, files := range map[string][2]string{
		"a certificate of another authority": {foreign, "node-n2"},
		"a client's certificate":             {certs, "client-somebody"},
		"no certificate":                     {},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"--node-name", "n4", "--data-dir", filepath.Join(t.TempDir(), "data"), "--join", c.PeerAddress(0), "--join-timeout", "2s"}
			if files[0] != "" {
				args = append(args, "--cluster-ca-file", filepath.Join(certs, "ca.crt"),
					"--cluster-cert-file", filepath.Join(files[0], files[1]+".crt"), "--cluster-key-file", filepath.Join(files[0], files[1]+".key"))
			}
			require.Regexp(t, "certificate|authority|--join answers", c.Refused(t, args...))
		})
	}
	t.Run("an expired certificate", func(t *testing.T) {
		dir := copyDir(t, certs)
		earlier := func() time.Time { return time.Now().Add(-time.Hour) }
		issuer, err := cert.LoadAuthority(dir, earlier)
		require.NoError(t, err)
		_, err = issuer.Node("n5", []string{"127.0.0.1"}, time.Minute)
		require.NoError(t, err)
		said := c.Refused(t, "--node-name", "n5", "--data-dir", filepath.Join(t.TempDir(), "data"), "--join", c.PeerAddress(0), "--cert-dir", dir)
		require.Contains(t, said, "expired")
		require.Contains(t, said, "flotilla cert node")
	})
	_, err = kv.Get(t.Context(), "a", nil)
	require.NoError(t, err, "the cluster goes on")
}

// TestDevCluster runs three nodes in one process, stops them, and starts them
// again with more shards.
func TestDevCluster(t *testing.T) {
	t.Parallel()
	dev := process.Dev(t, "--nodes", "3", "--data-shards", "2")
	put := dev.Home.Run(t, "kv", "put", "greeting", "hello")
	require.Zero(t, put.Code, put.Stderr)
	dev.Stop(t)
	refused := dev.Home.Run(t, "dev", "--data-dir", dev.DataDir, "--listen-api", "127.0.0.1:0")
	require.Equal(t, 2, refused.Code)
	require.Contains(t, refused.Stderr, "say --nodes 3")

	dev.Start(t, "--nodes", "3", "--data-shards", "3")
	get := dev.Home.Run(t, "kv", "get", "greeting")
	require.Zero(t, get.Code, get.Stderr)
	require.Equal(t, "hello", strings.TrimSpace(get.Stdout))
	require.Eventually(t, func() bool {
		shards := dev.Home.Run(t, "shard", "list", "--ops-url", dev.Info.OpsURL)
		return shards.Code == 0 && regexp.MustCompile(`(?m)^4 .* n1\*?, n2\*?, n3\*?$`).MatchString(shards.Stdout)
	}, time.Minute, 100*time.Millisecond, "the new shard is not on all nodes")
}
