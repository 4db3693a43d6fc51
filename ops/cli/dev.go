package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/flotillakv/flotilla/gateway/etcd"
	"github.com/flotillakv/flotilla/ops/config"
	"github.com/flotillakv/flotilla/ops/datadir"
	"github.com/flotillakv/flotilla/ops/node"
	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// devTenant is the tenant of a dev node.
const devTenant tenancy.TenantID = "dev"

const (
	devNamespace = tenancy.DefaultNamespace
	devFile      = "dev.json"
	// listenEtcdFlag is also asked whether it was set.
	listenEtcdFlag = "listen-etcd"
	dataShardsFlag = "data-shards"
)

// devOptions are the flags of dev.
type devOptions struct {
	config   node.Config
	logLevel slog.Level
	reserve  uint64
}

// devInfo is dev.json: how to reach a dev node.
type devInfo struct {
	APIURL    string `json:"api_url"`
	OpsURL    string `json:"ops_url"`
	EtcdURL   string `json:"etcd_url"`
	Tenant    string `json:"tenant"`
	Namespace string `json:"namespace"`
	APIKey    string `json:"api_key"`
}

func newDevCommand(env *Env) *cobra.Command {
	opts := &devOptions{}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a node on this machine, with a tenant to try it",
		Long: `Runs a durable node on this machine with a tenant "dev", a namespace
"default" and an API key, and prints how to use it. A second start with the
same data directory keeps the data.

Every flag can also be set in the environment (FLOTILLA_LISTEN_API for
--listen-api) or in the YAML file that --config names (listen_api).`,
		Example: `  $ flotilla dev
  $ flotilla dev --data-dir /tmp/flotilla --listen-api 127.0.0.1:0`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.config.EtcdPortOptional = !cmd.Flags().Changed(listenEtcdFlag)
			if !cmd.Flags().Changed(dataShardsFlag) {
				opts.config.DataShards = 0 // as many as there are
			}
			if err := opts.config.WithDefaults().Validate(); err != nil {
				return usageError{err}
			}
			return runDev(cmd.Context(), env, opts)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opts.config.DataDir, "data-dir", "flotilla-data", "directory of the node's data")
	f.StringVar(&opts.config.ListenAPI, "listen-api", "127.0.0.1:7700", "address of the API; port 0 takes a free one")
	f.StringVar(&opts.config.ListenOps, "listen-ops", "127.0.0.1:7703", "address of the operators' port")
	f.StringVar(&opts.config.ListenEtcd, listenEtcdFlag, "127.0.0.1:2379", "address of the etcd v3 API; port 0 takes a free one, as does a default that is taken")
	f.StringVar(&opts.config.AdvertiseEtcd, "advertise-etcd", "", "host:port under which clients reach the etcd v3 API (default where it listens, by the host's name if that is every address)")
	f.DurationVar(&opts.config.Etcd.ProgressInterval, "etcd-watch-progress-interval", 10*time.Minute, "how often an idle etcd watch that asks for it is told the revision")
	f.StringVar(&opts.config.EtcdTLS.CertFile, "etcd-cert-file", "", "certificate in PEM, which turns on TLS for the etcd v3 API")
	f.StringVar(&opts.config.EtcdTLS.KeyFile, "etcd-key-file", "", "key of the certificate, in PEM")
	f.StringVar(&opts.config.EtcdTLS.ClientCAFile, "etcd-client-ca-file", "", "authority in PEM whose client certificates are let in by API key id")
	f.IntVar(&opts.config.DataShards, dataShardsFlag, 4, "shards that hold namespaces; fixed by the first start")
	f.Int64Var(&opts.config.Store.CacheBytes, "cache-bytes", 160<<20, "memory for the cache of the store")
	f.Uint64Var(&opts.reserve, "disk-reserve-bytes", 0, "free bytes of disk under which writes are refused; 0 is 512 MiB")
	f.TextVar(&opts.logLevel, "log-level", slog.LevelWarn, "least severe `level` of log lines to print: debug, info, warn, error")
	f.String(config.FileFlag, "", "YAML file with settings")
	return cmd
}

func runDev(ctx context.Context, env *Env, opts *devOptions) error {
	cfg := opts.config
	cfg.Log = slog.New(slog.NewTextHandler(env.Err, &slog.HandlerOptions{Level: opts.logLevel}))
	if opts.reserve > 0 {
		cfg.Disk = datadir.Watermark{LowBytes: opts.reserve, HighBytes: opts.reserve + opts.reserve/4}
	}
	if _, chosen := env.LookupEnv("GOGC"); !chosen {
		// Most of a node's memory is not Go's, and what is Go's is mostly
		// requests that come and go: a smaller heap costs little time.
		debug.SetGCPercent(50)
	}
	cfg.Etcd.Anonymous = &etcd.Anonymous{Tenant: devTenant, Namespace: devNamespace}
	cfg.Etcd.Reflection = true
	err := node.Run(ctx, cfg, func(ctx context.Context, n *node.Node) error {
		info, err := prepareDev(ctx, n, cfg.DataDir)
		if err != nil {
			return fmt.Errorf("prepare the dev tenant: %w", err)
		}
		if err := saveContext(filepath.Join(cfg.DataDir, devFile)); err != nil {
			fmt.Fprintf(env.Err, "flotilla: other commands will not find this node by themselves: %s\n", err)
		}
		return printDev(env, info, cfg.DataDir)
	})
	if err == nil {
		fmt.Fprintln(env.Err, "flotilla stopped; the data is kept")
	}
	return err
}

// prepareDev makes the dev tenant, or finds the one of an earlier start, and
// writes dev.json.
func prepareDev(ctx context.Context, n *node.Node, dataDir string) (devInfo, error) {
	info := devInfo{APIURL: n.APIURL(), OpsURL: n.OpsURL(), EtcdURL: n.EtcdURL(), Tenant: string(devTenant), Namespace: devNamespace}
	cat := n.Catalog()
	if err := ensureDevNamespace(ctx, cat); err != nil {
		return info, err
	}
	path := filepath.Join(dataDir, devFile)
	key, err := usableKey(ctx, cat, path)
	if err != nil {
		return info, err
	}
	if info.APIKey = key; key == "" {
		if info.APIKey, err = createDevKey(ctx, cat); err != nil {
			return info, err
		}
	}
	if err := writeDevFile(path, info); err != nil {
		return info, err
	}
	return info, nil
}

// ensureDevNamespace makes the dev tenant and its namespace. They are looked
// for first, because an earlier start's are found also while the disk is full
// or the tenant has all the namespaces that it may have.
func ensureDevNamespace(ctx context.Context, cat *catalog.Catalog) error {
	_, err := cat.Route(ctx, devTenant, devNamespace)
	if !errors.Is(err, tenancy.ErrNamespaceNotFound) {
		return err
	}
	var exists *tenancy.AlreadyExistsError
	if err := cat.CreateTenant(ctx, devTenant); err != nil && !errors.As(err, &exists) {
		return err
	}
	_, err = cat.CreateNamespaces(ctx, devTenant, []string{devNamespace}, tenancy.Limits{}.WithDefaults())
	return err
}

// usableKey is the API key of an earlier start, or "" if it is of no use.
func usableKey(ctx context.Context, cat *catalog.Catalog, path string) (string, error) {
	earlier, err := readDevFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", nil //nolint:nilerr // a damaged file is written anew
	}
	key, err := auth.ParseAPIKey(earlier.APIKey)
	if err != nil {
		return "", nil //nolint:nilerr // likewise
	}
	record, err := cat.APIKey(ctx, key.ID())
	if errors.Is(err, tenancy.ErrUnauthenticated) {
		return "", nil
	}
	if err != nil || !key.Matches(record.SecretHash) {
		return "", err
	}
	return earlier.APIKey, nil
}

func createDevKey(ctx context.Context, cat *catalog.Catalog) (string, error) {
	key, secret, err := auth.GenerateAPIKey(rand.Reader)
	if err != nil {
		return "", err
	}
	hash := key.Hash()
	_, err = cat.CreateAPIKey(ctx, catalog.APIKey{
		ID: key.ID(), Tenant: devTenant, SecretHash: hash[:], Description: "made by flotilla dev",
	})
	return secret, err
}

func readDevFile(path string) (devInfo, error) {
	var info devInfo
	data, err := os.ReadFile(path)
	if err != nil {
		return info, err
	}
	return info, json.Unmarshal(data, &info)
}

// writeDevFile writes dev.json for its owner's eyes only: it holds a secret.
func writeDevFile(path string, info devInfo) error {
	data, err := json.MarshalIndent(info, "", "  ") //nolint:gosec // the secret is what the file is for
	if err != nil {
		return err
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

func printDev(env *Env, info devInfo, dataDir string) error {
	_, err := fmt.Fprintf(env.Out, `flotilla is ready

  API        %[1]s
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
`, info.APIURL, info.OpsURL, info.Tenant, info.Namespace, info.APIKey, dataDir, info.EtcdURL)
	return err
}
