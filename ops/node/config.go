package node

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/flotillakv/flotilla/gateway"
	"github.com/flotillakv/flotilla/gateway/etcd"
	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/ops/datadir"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/store"
)

// Config is a whole node. Zero fields take the defaults of the part that they
// belong to.
type Config struct {
	// DataDir is the node's data directory.
	DataDir string
	// Name is what its operator calls the node; no other node of the cluster has
	// the same. Default: the name of this host.
	Name string
	// Zone is the failure domain that the node is in, such as a data center.
	Zone string

	// Bootstrap makes a new cluster of this node, if the data directory is new.
	Bootstrap bool
	// Join are peer addresses of nodes of the cluster that the node belongs to.
	// A new directory needs them, or Bootstrap; later they help to find the
	// others should all have moved.
	Join []string
	// JoinTimeout is how long a new node tries to join before it gives up.
	// Default 1 min.
	JoinTimeout time.Duration
	// GatewayOnly hosts no replicas: the node only routes for callers.
	GatewayOnly bool
	// PrivateIssuers lets tenants' OpenID Connect issuers be at addresses that are
	// not public.
	PrivateIssuers bool
	// DataShards is how many shards hold tenants' namespaces, beside the
	// system shard, in a cluster that is bootstrapped. Default 16.
	DataShards int
	// Replication is how many voters a shard of a cluster that is bootstrapped
	// has, once there are nodes enough: 1, 3, 5 or 7. Default 3.
	Replication int
	// ReplaceAfter is for how long a node may be dead before its replicas are
	// replaced. Default 5 min.
	ReplaceAfter time.Duration

	// Addresses are where the node listens, and where it is reached.
	Addresses
	// TLS are the certificates of its ports.
	TLS TLS
	// Insecure lets others reach ports that are not encrypted.
	Insecure bool
	// TrustedProxies are addresses, and ranges of them in CIDR notation, of proxies
	// that are believed in where a request came from: see intercept.Proxies.
	TrustedProxies []string

	Gateway gateway.Config
	// Etcd is how the etcd v3 API is served; the node fills in who it is.
	Etcd   etcd.Config
	Shards shards.Config
	Store  store.Config
	// Disk is when the node turns read-only for want of space.
	Disk datadir.Watermark
	// SnapshotBytesPerSecond bounds what snapshots for other nodes take of the
	// network. Default 64 MiB.
	SnapshotBytesPerSecond int64

	Log *slog.Logger
}

// Addresses are where a node listens, each host:port, where port 0 takes a free
// one, and where it is reached, if that is elsewhere.
type Addresses struct {
	// ListenAPI is the address of the API. Default 127.0.0.1:7700.
	ListenAPI string
	// ListenEtcd is the address of the etcd v3 API. Default 127.0.0.1:2379.
	ListenEtcd string
	// EtcdPortOptional takes a free port if the one of ListenEtcd is taken.
	EtcdPortOptional bool
	// ListenOps is the address of the operators' port. Default 127.0.0.1:7703.
	ListenOps string
	// ListenPeer is the address of the RPC between nodes. Without one the node
	// stays alone.
	ListenPeer string
	// ListenRaft is the address of Raft between nodes.
	ListenRaft string
	// Advertised are the host and port under which others reach the ports of the
	// same name. Default where it listens, with this host's name if that is every
	// address.
	AdvertiseAPI, AdvertiseEtcd, AdvertisePeer, AdvertiseRaft string
}

const (
	// DataShardsDefault is how many shards a new cluster has for namespaces.
	DataShardsDefault  = 16
	replicationDefault = 3
	// DataShardsMax bounds the shards of a cluster: a node ticks each of its own
	// all the time, and pays for it.
	DataShardsMax = 64
)

// WithDefaults fills the zero fields.
func (c Config) WithDefaults() Config {
	c.ListenAPI = cmp.Or(c.ListenAPI, "127.0.0.1:7700")
	c.ListenOps = cmp.Or(c.ListenOps, "127.0.0.1:7703")
	c.ListenEtcd = cmp.Or(c.ListenEtcd, "127.0.0.1:2379")
	if c.Name == "" {
		c.Name, _ = os.Hostname() // Validate tells if there is none
	}
	c.JoinTimeout = cmp.Or(c.JoinTimeout, time.Minute)
	c.Replication = cmp.Or(c.Replication, replicationDefault)
	c.ReplaceAfter = cmp.Or(c.ReplaceAfter, 5*time.Minute)
	c.SnapshotBytesPerSecond = cmp.Or(c.SnapshotBytesPerSecond, 64<<20)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

var validName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

// Validate names every field that cannot be, by its flag.
func (c Config) Validate() error {
	var errs []error
	if c.DataDir == "" {
		errs = append(errs, errors.New("--data-dir is missing"))
	}
	if !validName.MatchString(c.Name) {
		errs = append(errs, fmt.Errorf("--node-name is %q, and takes up to 63 letters, digits, dots, dashes and underscores", c.Name))
	}
	if c.Zone != "" && !validName.MatchString(c.Zone) {
		errs = append(errs, fmt.Errorf("--zone is %q, and takes up to 63 letters, digits, dots, dashes and underscores", c.Zone))
	}
	if c.DataShards < 0 || c.DataShards > DataShardsMax {
		errs = append(errs, fmt.Errorf("--data-shards is %d, and takes 1 to %d", c.DataShards, DataShardsMax))
	}
	if !slices.Contains([]int{1, 3, 5, 7}, c.Replication) {
		errs = append(errs, fmt.Errorf("--replicas is %d, and takes 1, 3, 5 or 7: of an even number no more may fail than of one less", c.Replication))
	}
	if c.ReplaceAfter < 10*time.Second {
		errs = append(errs, fmt.Errorf("--replace-after is %s, and takes 10s or more: a node that starts again must not be replaced", c.ReplaceAfter))
	}
	if _, err := intercept.ParseProxies(c.TrustedProxies); err != nil {
		errs = append(errs, fmt.Errorf("--trusted-proxies: %w", err))
	}
	errs = append(errs, c.checkCluster(), c.checkAddresses(), c.TLS.validate())
	return errors.Join(errs...)
}

// checkCluster tells how the node comes to its cluster.
func (c Config) checkCluster() error {
	var errs []error
	if c.Bootstrap && len(c.Join) > 0 {
		errs = append(errs, errors.New("--bootstrap makes a new cluster and --join enters one: take one of them"))
	}
	for _, address := range c.Join {
		if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" || port == "0" {
			errs = append(errs, fmt.Errorf("--join has %q, and takes peer addresses of other nodes, such as n1.example.com:7701", address))
		}
	}
	alone := c.ListenPeer == ""
	if alone && (len(c.Join) > 0 || c.GatewayOnly) {
		errs = append(errs, errors.New("--listen-peer is missing: a node talks to others through it"))
	}
	if !alone && !c.GatewayOnly && c.ListenRaft == "" {
		errs = append(errs, errors.New("--listen-raft is missing: replicas talk to those of other nodes through it"))
	}
	if c.Bootstrap && c.GatewayOnly {
		errs = append(errs, errors.New("--roles is gateway, but the first node of a cluster hosts its shards"))
	}
	return errors.Join(errs...)
}

// port is one of the node's ports as flags describe it.
type port struct {
	name, listen, advertise string
	encrypted               bool
}

func (c Config) ports() []port {
	return []port{
		{"api", c.ListenAPI, c.AdvertiseAPI, c.TLS.encrypted(c.TLS.API)},
		{"etcd", c.ListenEtcd, c.AdvertiseEtcd, c.TLS.encrypted(c.TLS.Etcd)},
		{"ops", c.ListenOps, "", c.TLS.encrypted(c.TLS.Ops)},
		{"peer", c.ListenPeer, c.AdvertisePeer, c.TLS.encrypted(c.TLS.Cluster)},
		{"raft", c.ListenRaft, c.AdvertiseRaft, c.TLS.encrypted(c.TLS.Cluster)},
	}
}

// checkAddresses lets others reach only what is encrypted, and refuses what leads
// them nowhere.
func (c Config) checkAddresses() error {
	var errs []error
	for _, p := range c.ports() {
		if p.listen == "" && (p.name == "peer" || p.name == "raft") {
			continue
		}
		host, _, err := net.SplitHostPort(p.listen)
		if err != nil {
			errs = append(errs, fmt.Errorf("--listen-%s is %q, and takes host:port, such as 127.0.0.1:7700", p.name, p.listen))
			continue
		}
		if !p.encrypted && !c.Insecure && !isLoopback(host) {
			errs = append(errs, fmt.Errorf("--listen-%s is %q, which others can reach, and the port is not encrypted: give it a certificate (--cert-dir), use a loopback address, or say --insecure", p.name, p.listen))
		}
		if p.advertise == "" {
			continue
		}
		host, number, err := net.SplitHostPort(p.advertise)
		if ip := net.ParseIP(host); err != nil || host == "" || number == "" || ip != nil && ip.IsUnspecified() {
			errs = append(errs, fmt.Errorf("--advertise-%s is %q, and takes host:port that others can reach, such as n1.example.com:2379", p.name, p.advertise))
		}
	}
	return errors.Join(errs...)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
