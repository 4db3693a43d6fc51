package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

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
	apiURL, apiKey, namespace string
}

func (o *clientOptions) bind(f *pflag.FlagSet) {
	f.StringVar(&o.apiURL, "api-url", "", "base URL of the API (default: the dev node that started last)")
	f.StringVar(&o.apiKey, "api-key", "", "API key; better given as FLOTILLA_API_KEY, because others can see a command line")
	f.StringVarP(&o.namespace, "namespace", "n", "default", "namespace")
}

var errNoContext = errors.New("no node is known: start one with `flotilla dev`, or set FLOTILLA_API_URL and FLOTILLA_API_KEY")

// connect makes a client. What is not given comes from the context file.
func (o *clientOptions) connect() (*flotilla.Client, error) {
	cfg := flotilla.Config{URL: o.apiURL, APIKey: o.apiKey}
	if cfg.URL == "" || cfg.APIKey == "" {
		info, err := currentDev()
		if err != nil {
			return nil, usageError{err}
		}
		if cfg.URL == "" {
			cfg.URL = info.APIURL
		}
		// A dev node's key is sent to that node alone.
		if cfg.APIKey == "" && cfg.URL == info.APIURL {
			cfg.APIKey = info.APIKey
		}
	}
	if cfg.APIKey == "" {
		return nil, usageError{errors.New("no API key: set FLOTILLA_API_KEY, or give --api-key")}
	}
	return flotilla.New(cfg)
}

func currentDev() (devInfo, error) {
	path, err := contextPath()
	if err != nil {
		return devInfo{}, errNoContext
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return devInfo{}, errNoContext
	}
	if err != nil {
		return devInfo{}, err
	}
	var c contextFile
	if err := json.Unmarshal(data, &c); err != nil {
		return devInfo{}, fmt.Errorf("%s: %w: remove it, and start the dev node again", path, err)
	}
	info, err := readDevFile(c.DevFile)
	if errors.Is(err, fs.ErrNotExist) {
		return devInfo{}, errNoContext
	}
	return info, err
}
