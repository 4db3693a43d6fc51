package process

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
	"github.com/flotillakv/flotilla/tests/faultnet"
)

// clusterTenant is the tenant of a cluster that a test runs.
const clusterTenant = "test"

// A Cluster is nodes that a test runs, each a process of its own. The first one
// made the cluster, and a tenant in it.
type Cluster struct {
	// Home is where they were started.
	Home *Home
	// Nodes are the nodes, in the order of their names n1, n2, ...
	Nodes []*Process
	// Info is how the tenant is reached through the first node.
	Info Info

	// TLS verifies the nodes' certificates; nil if they have none.
	TLS *tls.Config

	dir   string
	cfg   ClusterConfig
	ports []nodePorts
}

// ClusterConfig is how a cluster runs.
type ClusterConfig struct {
	// Nodes is how many it begins with.
	Nodes int
	// Flags are those of every node. With --cert-dir all ports are encrypted.
	Flags []string
	// Network, if there is one, carries all that the nodes say to each other.
	Network *faultnet.Network
	// Faults has the nodes do wrong what SetFaults says.
	Faults bool
}

// NewCluster starts a cluster of so many nodes and waits until each serves. It
// ends with the test.
func NewCluster(t *testing.T, nodes int, flags ...string) *Cluster {
	t.Helper()
	return StartCluster(t, ClusterConfig{Nodes: nodes, Flags: flags})
}

// StartCluster starts a cluster and waits until each node serves. It ends with the
// test.
func StartCluster(t *testing.T, cfg ClusterConfig) *Cluster {
	t.Helper()
	c := &Cluster{Home: NewHome(t), dir: t.TempDir(), cfg: cfg}
	if cfg.Faults {
		c.Home.tags = "faults"
	}
	if i := slices.Index(cfg.Flags, "--cert-dir"); i >= 0 {
		authority, err := os.ReadFile(filepath.Join(cfg.Flags[i+1], "ca.crt"))
		require.NoError(t, err)
		c.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}
		require.True(t, c.TLS.RootCAs.AppendCertsFromPEM(authority))
	}
	for range cfg.Nodes {
		c.Add(t)
	}
	if cfg.Nodes > 1 {
		// From now on the first node is as the others: one that has lost its data
		// joins, and makes no cluster of its own.
		c.Nodes[0].args = c.args(0, c.PeerAddress(1))
	}
	return c
}

// Add starts one more node, and waits until it serves.
func (c *Cluster) Add(t *testing.T, flags ...string) *Process {
	t.Helper()
	p := c.node(t, flags...)
	p.Start(t)
	if len(c.Nodes) == 1 {
		c.readInfo(t)
	}
	return p
}

// node makes one more node, which does not run yet.
func (c *Cluster) node(t *testing.T, flags ...string) *Process {
	t.Helper()
	i := len(c.Nodes)
	c.ports = append(c.ports, c.newPorts(t, i))
	p := &Process{Home: c.Home.With(faultsVariable + "=" + c.faultsFile(i)), DataDir: filepath.Join(c.dir, nodeName(i))}
	c.Nodes = append(c.Nodes, p)
	if i == 0 {
		p.args = append(c.args(0, ""), "--bootstrap", "--tenant", clusterTenant)
	} else {
		p.args = c.args(i, c.PeerAddress(0))
	}
	p.args = append(p.args, flags...)
	t.Cleanup(func() { p.cleanup(t) })
	return p
}

func nodeName(i int) string { return "n" + strconv.Itoa(i+1) }

// args are the command and flags of a node.
func (c *Cluster) args(i int, join string) []string {
	args := []string{"serve", "--node-name", nodeName(i), "--data-dir", c.Nodes[i].DataDir}
	args = append(append(args, c.ports[i].flags()...), c.cfg.Flags...)
	if join != "" {
		args = append(args, "--join", join)
	}
	return args
}

// Move gives all nodes other ports, of which none runs. Each is told the new peer
// address of the next one.
func (c *Cluster) Move(t *testing.T) {
	t.Helper()
	for i := range c.ports {
		c.ports[i] = c.newPorts(t, i)
	}
	for i, p := range c.Nodes {
		p.args = c.args(i, c.PeerAddress((i+1)%len(c.ports)))
	}
}

// PeerAddress is the peer address of a node, from 0, as the others know it.
func (c *Cluster) PeerAddress(i int) string { return c.ports[i].advertisedPeer }

// OpsURL is the base URL of the operators' port of a node, from 0.
func (c *Cluster) OpsURL(i int) string { return c.scheme() + c.ports[i].ops }

// Refused starts a node that must end by itself at once, and returns what it says.
func (c *Cluster) Refused(t *testing.T, args ...string) string {
	t.Helper()
	ports := freePorts(t, "127.0.0.1")
	result := c.Home.Run(t, append(append([]string{"serve"}, ports.flags()...), args...)...)
	require.NotZero(t, result.Code)
	require.NotContains(t, result.Stdout, readyLine)
	return result.Stderr
}

// Wipe removes the data of a node that does not run.
func (p *Process) Wipe(t *testing.T) {
	t.Helper()
	require.False(t, p.running(), "the node runs")
	require.NoError(t, os.RemoveAll(p.DataDir))
}

func (c *Cluster) readInfo(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.Nodes[0].DataDir, "tenant-"+clusterTenant+".json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &c.Info))
}

func (c *Cluster) scheme() string {
	if c.TLS != nil {
		return "https://"
	}
	return "http://"
}

// APIURLs are the base URLs of the API of all nodes, that of node first (from 0)
// in front.
func (c *Cluster) APIURLs(first int) []string {
	var urls []string
	for i := range c.ports {
		urls = append(urls, c.scheme()+c.ports[(first+i)%len(c.ports)].api)
	}
	return urls
}

// EtcdEndpoints are the addresses of the etcd v3 API of all nodes.
func (c *Cluster) EtcdEndpoints() []string {
	var endpoints []string
	for _, p := range c.ports {
		endpoints = append(endpoints, c.scheme()+p.etcd)
	}
	return endpoints
}

// Client makes a client of all nodes which begins with node first, from 0. The
// test's cleanup closes it.
func (c *Cluster) Client(t *testing.T, first int) *flotilla.Client {
	t.Helper()
	client, err := flotilla.New(flotilla.Config{URLs: c.APIURLs(first), APIKey: c.Info.APIKey, AttemptsMax: 1000, TLS: c.TLS})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// ClusterStatus is what a node's /status tells of the cluster.
type ClusterStatus struct {
	NodeID string `json:"node_id"`
	Nodes  []struct {
		NodeID           string   `json:"node_id"`
		Name             string   `json:"name"`
		State            string   `json:"state"`
		ClockSkewSeconds *float64 `json:"clock_skew_seconds"`
	} `json:"nodes"`
	Shards []struct {
		Shard      uint64 `json:"shard"`
		Replica    uint64 `json:"replica"`
		LeaderNode string `json:"leader_node"`
		Term       uint64 `json:"term"`
		Applied    uint64 `json:"applied_index"`
	} `json:"shards"`
	Placements []struct {
		Shard    uint64 `json:"shard"`
		Replicas []struct {
			Replica uint64 `json:"replica"`
			NodeID  string `json:"node_id"`
			State   string `json:"state"`
		} `json:"replicas"`
	} `json:"placements"`
}

// Status asks a node, from 0, how the cluster is; nil if it does not answer.
func (c *Cluster) Status(node int) *ClusterStatus {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: c.TLS, DisableKeepAlives: true}}
	response, err := client.Get(c.OpsURL(node) + "/status")
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	status := &ClusterStatus{}
	if json.NewDecoder(response.Body).Decode(status) != nil {
		return nil
	}
	return status
}

// WaitReplicated waits until every shard has so many voters, all on nodes that
// are active, as node (from 0) knows it.
func (c *Cluster) WaitReplicated(t *testing.T, node, voters int, within time.Duration) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		status := c.Status(node)
		if status != nil && status.Replicated(voters) {
			return
		}
		require.True(t, time.Now().Before(deadline), "the cluster is not replicated: %+v", status)
		<-time.After(20 * time.Millisecond)
	}
}

// LogOutputs logs what each node printed since its last start.
func (c *Cluster) LogOutputs(t *testing.T) {
	t.Helper()
	for i, p := range c.Nodes {
		t.Logf("output of %s:\n%s", nodeName(i), p.Output())
	}
}

// NodeState is the state of the node of a name; "" if the status, which may be nil,
// has none.
func (s *ClusterStatus) NodeState(name string) string {
	if s == nil {
		return ""
	}
	for _, n := range s.Nodes {
		if n.Name == name {
			return n.State
		}
	}
	return ""
}

// ReplicasOf are the nodes of a shard's replicas, by replica id.
func (s *ClusterStatus) ReplicasOf(shard uint64) map[uint64]string {
	nodes := make(map[uint64]string)
	for _, placed := range s.Placements {
		for _, r := range placed.Replicas {
			if placed.Shard == shard {
				nodes[r.Replica] = r.NodeID
			}
		}
	}
	return nodes
}

// Replicated tells whether every shard has so many voters, all on nodes that are
// active, and no other replicas.
func (s *ClusterStatus) Replicated(voters int) bool {
	active := map[string]bool{}
	for _, n := range s.Nodes {
		active[n.NodeID] = n.State == "active"
	}
	for _, placed := range s.Placements {
		if len(placed.Replicas) != voters {
			return false
		}
		for _, r := range placed.Replicas {
			if r.State != "voter" || !active[r.NodeID] {
				return false
			}
		}
	}
	return len(s.Placements) > 0
}

// Pause stops a node as SIGSTOP does, until Resume.
func (p *Process) Pause(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGSTOP))
}

// Resume lets a node go on that was paused.
func (p *Process) Resume(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGCONT))
}
