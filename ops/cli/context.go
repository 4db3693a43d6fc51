package cli

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// The context file names the dev.json of the dev node that started last, so
// that commands on this machine find it. It holds no secret itself.
type contextFile struct {
	DevFile string `json:"dev_file"`
}

func contextPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the configuration directory: %w", err)
	}
	return filepath.Join(dir, "flotilla", "context.json"), nil
}

// saveContext makes a dev node the one that commands talk to. A machine
// without a home directory has no context; commands then need their flags.
func saveContext(devFile string) error {
	path, err := contextPath()
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	absolute, err := filepath.Abs(devFile)
	if err != nil {
		return err
	}
	data, err := json.Marshal(contextFile{DevFile: absolute})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("save the context: %w", err)
	}
	return os.WriteFile(path, append(data, '\n'), 0o600)
}

// clientOptions are the flags of commands that talk to a node.
type clientOptions struct {
	apiURLs                   []string
	apiKey, namespace, caFile string
}

func (o *clientOptions) bind(f *pflag.FlagSet) {
	o.bindAccess(f)
	f.StringVarP(&o.namespace, "namespace", "n", "default", "namespace")
}

// bindAccess binds the flags of commands that concern no namespace.
func (o *clientOptions) bindAccess(f *pflag.FlagSet) {
	f.StringSliceVar(&o.apiURLs, "api-url", nil, "base URLs of the API of one or more nodes, by comma (default: the dev node that started last)")
	f.StringVar(&o.caFile, "ca-file", "", "authority in PEM that the API's certificate is of (default: this machine's)")
	f.StringVar(&o.apiKey, "api-key", "", "API key; better given as FLOTILLA_API_KEY, because others can see a command line")
}

var errNoContext = errors.New("no node is known: start one with `flotilla dev`, or set FLOTILLA_API_URL and FLOTILLA_API_KEY")

// connect makes a client.
func (o *clientOptions) connect() (*flotilla.Client, error) {
	cfg, err := o.config()
	if err != nil {
		return nil, err
	}
	return flotilla.New(cfg)
}

// config is how to reach a node. What is not given comes from the context file.
func (o *clientOptions) config() (cfg flotilla.Config, err error) {
	cfg = flotilla.Config{URLs: o.apiURLs, APIKey: o.apiKey}
	if len(cfg.URLs) == 0 || cfg.APIKey == "" {
		info, err := currentDev()
		if err != nil {
			return cfg, usageError{err}
		}
		known := append([]string{info.APIURL}, info.APIURLs...)
		if len(cfg.URLs) == 0 {
			cfg.URLs = known
		}
		// A dev node's key is sent to that node alone.
		if cfg.APIKey == "" && !slices.ContainsFunc(cfg.URLs, func(url string) bool { return !slices.Contains(known, url) }) {
			cfg.APIKey = info.APIKey
		}
	}
	if cfg.TLS, err = tlsOf(o.caFile); err != nil {
		return cfg, err
	}
	if cfg.APIKey == "" {
		return cfg, usageError{errors.New("no API key: set FLOTILLA_API_KEY, or give --api-key")}
	}
	return cfg, nil
}

// tlsOf trusts the authority of a file alone; nil is this machine's.
func tlsOf(caFile string) (*tls.Config, error) {
	if caFile == "" {
		return nil, nil //nolint:nilnil // the default
	}
	authority, err := os.ReadFile(caFile)
	if err != nil {
		return nil, usageError{fmt.Errorf("--ca-file: %w", err)}
	}
	cfg := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}
	if !cfg.RootCAs.AppendCertsFromPEM(authority) {
		return nil, usageError{fmt.Errorf("--ca-file: %s holds no certificate in PEM", caFile)}
	}
	return cfg, nil
}

func currentDev() (tenantInfo, error) {
	path, err := contextPath()
	if err != nil {
		return tenantInfo{}, errNoContext
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return tenantInfo{}, errNoContext
	}
	if err != nil {
		return tenantInfo{}, err
	}
	var c contextFile
	if err := json.Unmarshal(data, &c); err != nil {
		return tenantInfo{}, fmt.Errorf("%s: %w: remove it, and start the dev node again", path, err)
	}
	info, err := readTenantFile(c.DevFile)
	if errors.Is(err, fs.ErrNotExist) {
		return tenantInfo{}, errNoContext
	}
	return info, err
}
