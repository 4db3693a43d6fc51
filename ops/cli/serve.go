package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/flotillakv/flotilla/ops/config"
	"github.com/flotillakv/flotilla/ops/datadir"
	"github.com/flotillakv/flotilla/ops/node"
	"github.com/flotillakv/flotilla/tenancy"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	nodeOptions
	config node.Config
	roles  []string
	tenant string
}

const (
	roleHost    = "host"
	roleGateway = "gateway"
)

func newServeCommand(env *Env) *cobra.Command {
	opts := &serveOptions{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node of a cluster",
		Long: `Runs a node of a cluster. The first node makes the cluster (--bootstrap); every
other joins it through the peer address of any that runs (--join). A cluster of
three nodes or more keeps each shard on three of them by itself, and replaces
what is lost. Later starts with the same data directory need neither flag.

Nodes talk to each other on two ports, peer and raft, which are encrypted and
where both sides show certificates of the cluster's authority; see 'flotilla
cert'. A port that is not encrypted is for this machine alone, unless --insecure
is said.

A node that is stopped (SIGTERM) first has others lead its shards. One that has
lost its data directory is started with an empty one under the same --node-name:
what it had is filled in again from the others.

Every flag can also be set in the environment (FLOTILLA_LISTEN_API for
--listen-api) or in the YAML file that --config names (listen_api).`,
		Example: `  $ flotilla cert ca && flotilla cert node n1 --host n1.example.com
  $ flotilla serve --node-name n1 --data-dir /var/lib/flotilla --cert-dir certs \
      --listen-peer :7701 --listen-raft :7702 --listen-api :7700 --bootstrap --tenant acme
  $ flotilla serve --node-name n2 --data-dir /var/lib/flotilla --cert-dir certs \
      --listen-peer :7701 --listen-raft :7702 --listen-api :7700 --join n1.example.com:7701`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.complete(); err != nil {
				return usageError{err}
			}
			return runServe(cmd.Context(), env, opts)
		},
	}
	f := cmd.Flags()
	c := &opts.config
	f.StringVar(&c.DataDir, "data-dir", "flotilla-data", "directory of the node's data")
	f.StringVar(&c.Name, "node-name", "", "name of the node, which no other has (default the name of this host)")
	f.StringVar(&c.Zone, "zone", "", "failure domain, such as a data center; replicas are spread over them")
	f.BoolVar(&c.Bootstrap, "bootstrap", false, "make a new cluster, if the data directory is new")
	f.StringSliceVar(&c.Join, "join", nil, "peer addresses of nodes of the cluster, by comma")
	f.DurationVar(&c.JoinTimeout, "join-timeout", time.Minute, "how long a new node tries to join before it gives up")
	f.StringSliceVar(&opts.roles, "roles", []string{roleHost, roleGateway}, "what the node does: host and gateway, or gateway alone, without replicas")
	f.IntVar(&c.DataShards, dataShardsFlag, 0, "shards that hold namespaces: more than there are adds some, fewer is refused (default 16 in a new cluster, else those there are)")
	f.IntVar(&c.Replication, "replicas", 3, "replicas of each shard that vote, with --bootstrap")
	f.DurationVar(&c.ReplaceAfter, "replace-after", 5*time.Minute, "how long a node may be dead before its replicas are replaced")
	f.StringVar(&opts.tenant, "tenant", "", "make this tenant, and write its API key to tenant-NAME.json in the data directory")
	bindAddresses(f, &c.Addresses)
	f.StringVar(&c.ListenPeer, "listen-peer", "127.0.0.1:7701", "address of the RPC between nodes")
	f.StringVar(&c.ListenRaft, "listen-raft", "127.0.0.1:7702", "address of Raft between nodes")
	f.StringVar(&c.AdvertiseAPI, "advertise-api", "", "host:port under which clients reach the API (default where it listens, by the host's name if that is every address)")
	f.StringVar(&c.AdvertisePeer, "advertise-peer", "", "host:port under which other nodes reach the peer port (default where it listens, by the host's name if that is every address)")
	f.StringVar(&c.AdvertiseRaft, "advertise-raft", "", "host:port under which other nodes reach the Raft port (default where it listens, by the host's name if that is every address)")
	bindTLS(f, &c.TLS)
	f.BoolVar(&c.PrivateIssuers, "allow-private-issuers", false, "let tenants' OpenID Connect issuers be at addresses that are not public")
	f.StringSliceVar(&c.TrustedProxies, "trusted-proxies", nil, "addresses and ranges (10.0.0.0/8) of load balancers, by comma, whose X-Forwarded-For tells where requests come from (default none)")
	f.BoolVar(&c.Insecure, "insecure", false, "let others reach ports that are not encrypted")
	f.Int64Var(&c.SnapshotBytesPerSecond, "snapshot-bytes-per-second", 64<<20, "bound on what snapshots for other nodes take of the network")
	opts.bind(f, c, slog.LevelInfo)
	return cmd
}

// complete turns the flags into the node's configuration, and checks it.
func (o *serveOptions) complete() error {
	o.apply(&o.config)
	for _, role := range o.roles {
		if role != roleHost && role != roleGateway {
			return fmt.Errorf("--roles has %q, and takes host and gateway", role)
		}
	}
	if !slices.Contains(o.roles, roleGateway) {
		return errors.New("--roles is without gateway, but every node is one")
	}
	o.config.GatewayOnly = !slices.Contains(o.roles, roleHost)
	if o.config.GatewayOnly {
		o.config.ListenRaft = ""
	}
	if o.tenant != "" {
		if err := tenancy.ValidateName("tenant", o.tenant); err != nil {
			return fmt.Errorf("--tenant: %w", err)
		}
	}
	return o.config.WithDefaults().Validate()
}

func runServe(ctx context.Context, env *Env, opts *serveOptions) error {
	cfg := opts.config
	cfg.Log = opts.logger(env)
	defer tuneRuntime(env, &cfg)()
	return node.Run(ctx, cfg, func(ctx context.Context, n *node.Node) error {
		if opts.tenant == "" {
			return printServe(env, n, "")
		}
		file := filepath.Join(cfg.DataDir, "tenant-"+opts.tenant+".json")
		if _, err := prepareTenant(ctx, n, tenancy.TenantID(opts.tenant), file); err != nil {
			return fmt.Errorf("prepare the tenant %s: %w", opts.tenant, err)
		}
		return printServe(env, n, file)
	})
}

func printServe(env *Env, n *node.Node, tenantFile string) error {
	_, err := fmt.Fprintf(env.Out, `flotilla is ready

  API        %s
  etcd v3    %s
  operators  %s
  peers      %s
`, n.APIURL(), n.EtcdURL(), n.OpsURL(), n.PeerAddress())
	if err == nil && tenantFile != "" {
		_, err = fmt.Fprintf(env.Out, "  API key    in %s\n", tenantFile)
	}
	return err
}

// nodeOptions are the flags that all commands have which run a node.
type nodeOptions struct {
	logLevel slog.Level
	reserve  uint64
}

func (o *nodeOptions) bind(f *pflag.FlagSet, c *node.Config, level slog.Level) {
	f.DurationVar(&c.Etcd.ProgressInterval, "etcd-watch-progress-interval", 10*time.Minute, "how often an idle etcd watch that asks for it is told the revision")
	f.Int64Var(&c.Store.CacheBytes, "cache-bytes", 160<<20, "memory for the cache of the store")
	f.Uint64Var(&o.reserve, "disk-reserve-bytes", 0, "free bytes of disk under which writes are refused; 0 is 512 MiB")
	f.TextVar(&o.logLevel, "log-level", level, "least severe `level` of log lines to print: debug, info, warn, error")
	f.String(config.FileFlag, "", "YAML file with settings")
}

// apply completes the configuration with what the flags mean.
func (o *nodeOptions) apply(c *node.Config) {
	if o.reserve > 0 {
		c.Disk = datadir.Watermark{LowBytes: o.reserve, HighBytes: o.reserve + o.reserve/4}
	}
}

func (o *nodeOptions) logger(env *Env) *slog.Logger {
	return slog.New(slog.NewTextHandler(env.Err, &slog.HandlerOptions{Level: o.logLevel}))
}

// ballastBytes is memory that the garbage collector counts, and that is never touched,
// so that none is taken for it. It is worth half as many bytes of garbage before each
// collection.
const ballastBytes = 64 << 20

// tuneRuntime sets Go's knobs as a node needs them, unless the operator has chosen.
//
// It trades a little time for memory: most of a node's memory is not Go's, and what is
// Go's is mostly requests that come and go, so garbage may take half as much as what is
// in use. Where that is little, the collector would run ten times a second under load,
// and keep requests waiting each time; the ballast makes that a few times.
//
// And Go may run one thread more than there
// are processors. Its scheduler lets whoever computes go on for up to 10 ms while
// short requests wait in line, at each of the goroutines that they pass; with a thread
// to spare the operating system decides, which is quicker to prefer the one that
// waited. On two processors that halves what a quiet tenant notices of loud ones, and
// costs no throughput (ops/decisions/0009).
//
// It is so until the function that it returns is called.
func tuneRuntime(env *Env, cfg *node.Config) (end func()) {
	var ballast []byte
	if _, chosen := env.LookupEnv("GOGC"); !chosen {
		debug.SetGCPercent(50)
		ballast = make([]byte, ballastBytes)
	}
	if _, chosen := env.LookupEnv("GOMAXPROCS"); !chosen {
		processors := runtime.GOMAXPROCS(0)
		cfg.Shards.LongReadsMax = max(1, processors-1)
		runtime.GOMAXPROCS(processors + 1)
	}
	return func() { runtime.KeepAlive(ballast) }
}

// bindAddresses are the flags of ports that clients and operators use.
func bindAddresses(f *pflag.FlagSet, a *node.Addresses) {
	f.StringVar(&a.ListenAPI, "listen-api", "127.0.0.1:7700", "address of the API; port 0 takes a free one")
	f.StringVar(&a.ListenOps, "listen-ops", "127.0.0.1:7703", "address of the operators' port")
	f.StringVar(&a.ListenEtcd, listenEtcdFlag, "127.0.0.1:2379", "address of the etcd v3 API; port 0 takes a free one")
	f.StringVar(&a.AdvertiseEtcd, "advertise-etcd", "", "host:port under which clients reach the etcd v3 API (default where it listens, by the host's name if that is every address)")
}

// bindTLS are the flags of all ports' certificates.
func bindTLS(f *pflag.FlagSet, t *node.TLS) {
	f.StringVar(&t.Dir, "cert-dir", "", "directory with ca.crt and node-NAME.crt and .key, as 'flotilla cert' makes them, which all ports use that have no certificate of their own")
	f.StringVar(&t.Cluster.CAFile, "cluster-ca-file", "", "authority in PEM of the nodes' certificates")
	f.StringVar(&t.Cluster.CertFile, "cluster-cert-file", "", "certificate in PEM that the node shows to other nodes")
	f.StringVar(&t.Cluster.KeyFile, "cluster-key-file", "", "key of the certificate, in PEM")
	f.StringVar(&t.API.CertFile, "api-cert-file", "", "certificate in PEM, which turns on TLS for the API")
	f.StringVar(&t.API.KeyFile, "api-key-file", "", "key of the certificate, in PEM")
	f.StringVar(&t.API.CAFile, "api-client-ca-file", "", "authority in PEM whose client certificates are let in by API key id")
	f.StringVar(&t.Ops.CertFile, "ops-cert-file", "", "certificate in PEM, which turns on TLS for the operators' port")
	f.StringVar(&t.Ops.KeyFile, "ops-key-file", "", "key of the certificate, in PEM")
	bindEtcdTLS(f, t)
}

// bindEtcdTLS are the flags of the etcd v3 API's certificate.
func bindEtcdTLS(f *pflag.FlagSet, t *node.TLS) {
	f.StringVar(&t.Etcd.CertFile, "etcd-cert-file", "", "certificate in PEM, which turns on TLS for the etcd v3 API")
	f.StringVar(&t.Etcd.KeyFile, "etcd-key-file", "", "key of the certificate, in PEM")
	f.StringVar(&t.Etcd.CAFile, "etcd-client-ca-file", "", "authority in PEM whose client certificates are let in by API key id")
}
