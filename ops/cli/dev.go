package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flotillakv/flotilla/gateway/etcd"
	"github.com/flotillakv/flotilla/ops/datadir"
	"github.com/flotillakv/flotilla/ops/node"
	"github.com/flotillakv/flotilla/tenancy"
)

// devTenant is the tenant of dev nodes.
const devTenant tenancy.TenantID = "dev"

const (
	devFile = "dev.json"
	// devShards is how many shards hold namespaces on dev nodes.
	devShards   = 4
	devNodesMax = 9
	// listenEtcdFlag is also asked whether it was set.
	listenEtcdFlag = "listen-etcd"
	dataShardsFlag = "data-shards"
)

// devOptions are the flags of dev.
type devOptions struct {
	nodeOptions
	config node.Config
	nodes  int
}

func newDevCommand(env *Env) *cobra.Command {
	opts := &devOptions{}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a node, or a small cluster, on this machine, with a tenant to try it",
		Long: `Runs a durable node on this machine with a tenant "dev", a namespace
"default" and an API key, and prints how to use it. A second start with the
same data directory keeps the data. With --nodes 3 it runs three nodes, each
with its own directory and ports, which replicate everything.

Every flag can also be set in the environment (FLOTILLA_LISTEN_API for
--listen-api) or in the YAML file that --config names (listen_api).`,
		Example: `  $ flotilla dev
  $ flotilla dev --data-dir /tmp/flotilla --listen-api 127.0.0.1:0
  $ flotilla dev --data-dir /tmp/three --nodes 3`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.config.EtcdPortOptional = !cmd.Flags().Changed(listenEtcdFlag)
			opts.apply(&opts.config)
			opts.config.Name = "dev"
			if err := errors.Join(opts.checkNodes(), opts.config.WithDefaults().Validate()); err != nil {
				return usageError{err}
			}
			return runDev(cmd.Context(), env, opts)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opts.config.DataDir, "data-dir", "flotilla-data", "directory of the nodes' data")
	f.IntVar(&opts.nodes, "nodes", 1, "how many nodes to run; fixed by the first start")
	f.IntVar(&opts.config.DataShards, dataShardsFlag, 0, "shards that hold namespaces: more than there are adds some, fewer is refused (default 4 in a new directory, else those there are)")
	bindAddresses(f, &opts.config.Addresses)
	bindEtcdTLS(f, &opts.config.TLS)
	opts.bind(f, &opts.config, slog.LevelWarn)
	return cmd
}

// checkNodes refuses another number of nodes than the directory has, and chooses
// how many shards a new one has.
func (o *devOptions) checkNodes() error {
	if o.nodes < 1 || o.nodes > devNodesMax {
		return fmt.Errorf("--nodes is %d, and takes 1 to %d", o.nodes, devNodesMax)
	}
	entries, err := os.ReadDir(o.config.DataDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("--data-dir: %w", err)
	}
	found := 0
	for _, e := range entries {
		if _, ok, _ := datadir.Recorded(filepath.Join(o.config.DataDir, e.Name())); ok && strings.HasPrefix(e.Name(), "n") {
			found++
		}
	}
	if _, ok, _ := datadir.Recorded(o.config.DataDir); ok {
		found = 1
	}
	if found == 0 && o.config.DataShards == 0 {
		o.config.DataShards = devShards
	}
	if found != 0 && found != o.nodes {
		return fmt.Errorf("--nodes is %d, but the first start of %s made %d: say --nodes %d, or use another directory", o.nodes, o.config.DataDir, found, found)
	}
	return nil
}

func runDev(ctx context.Context, env *Env, opts *devOptions) error {
	cfg := opts.config
	cfg.Log = opts.logger(env)
	defer tuneRuntime(env, &cfg)()
	cfg.Etcd.Anonymous = &etcd.Anonymous{Tenant: devTenant, Namespace: tenancy.DefaultNamespace}
	cfg.Etcd.Reflection = true
	cfg.Bootstrap = true
	var err error
	if opts.nodes > 1 {
		err = runDevCluster(ctx, env, cfg, opts.nodes)
	} else {
		err = node.Run(ctx, cfg, func(ctx context.Context, n *node.Node) error { return devReady(ctx, env, cfg.DataDir, n) })
	}
	if err == nil {
		fmt.Fprintln(env.Err, "flotilla stopped; the data is kept")
	}
	return err
}

// devReady makes the tenant, and tells how to use it.
func devReady(ctx context.Context, env *Env, dataDir string, nodes ...*node.Node) error {
	file := filepath.Join(dataDir, devFile)
	info, err := prepareTenant(ctx, nodes[0], devTenant, file)
	if err != nil {
		return fmt.Errorf("prepare the dev tenant: %w", err)
	}
	if info.OperatorFile, err = filepath.Abs(nodes[0].OperatorFile()); err != nil {
		return err
	}
	if len(nodes) > 1 {
		for _, n := range nodes {
			info.APIURLs, info.EtcdURLs = append(info.APIURLs, n.APIURL()), append(info.EtcdURLs, n.EtcdURL())
		}
	}
	if err := writeTenantFile(file, info); err != nil {
		return err
	}
	if err := saveContext(file); err != nil {
		fmt.Fprintf(env.Err, "flotilla: other commands will not find this node by themselves: %s\n", err)
	}
	return printDev(env, info, dataDir)
}

func printDev(env *Env, info tenantInfo, dataDir string) error {
	apis, etcds := info.APIURL, info.EtcdURL
	if len(info.APIURLs) > 0 {
		apis, etcds = strings.Join(info.APIURLs, ","), strings.Join(info.EtcdURLs, ",")
	}
	_, err := fmt.Fprintf(env.Out, `flotilla is ready

  API        %[8]s
  etcd v3    %[7]s
  operators  %[2]s   (/readyz /status /metrics /debug/pprof)
  tenant     %[3]s, namespace %[4]s
  data       %[6]s

In another terminal:

  export FLOTILLA_API_URL=%[1]s
  export FLOTILLA_API_KEY=%[5]s
  curl -X PUT -H "Authorization: Bearer $FLOTILLA_API_KEY" --data-binary hello $FLOTILLA_API_URL/v1/kv/greeting
  curl -H "Authorization: Bearer $FLOTILLA_API_KEY" $FLOTILLA_API_URL/v1/kv/greeting
  go run ./ops/cmd/flotilla kv get greeting
  etcdctl --endpoints=%[7]s get greeting

Ctrl-C stops it.
`, info.APIURL, info.OpsURL, info.Tenant, info.Namespace, info.APIKey, dataDir, etcds, apis)
	return err
}
