package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/flotillakv/flotilla/ops/node"
	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// tenantInfo is how to reach a tenant: dev.json, or tenant-NAME.json.
type tenantInfo struct {
	APIURL string `json:"api_url"`
	// APIURLs are those of all nodes, if this process runs several.
	APIURLs   []string `json:"api_urls,omitempty"`
	OpsURL    string   `json:"ops_url"`
	EtcdURL   string   `json:"etcd_url"`
	EtcdURLs  []string `json:"etcd_urls,omitempty"`
	Tenant    string   `json:"tenant"`
	Namespace string   `json:"namespace"`
	APIKey    string   `json:"api_key"`
	// OperatorFile is where the credential of the first operator is, if that is on
	// this machine.
	OperatorFile string `json:"operator_file,omitempty"`
}

// tenantTimeout is how long a node may take to make a tenant: a cluster that
// starts has no leader at first.
const tenantTimeout = time.Minute

// prepareTenant makes a tenant, or finds the one of an earlier start, and writes
// the file that tells how to reach it.
func prepareTenant(ctx context.Context, n *node.Node, tenant tenancy.TenantID, path string) (tenantInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, tenantTimeout)
	defer cancel()
	ctx = catalog.WithAct(ctx, catalog.Act{Actor: "node:" + n.Name(), Procedure: "start"})
	info := tenantInfo{
		APIURL: n.APIURL(), OpsURL: n.OpsURL(), EtcdURL: n.EtcdURL(), Tenant: string(tenant), Namespace: tenancy.DefaultNamespace,
	}
	cat := n.Catalog()
	if err := ensureNamespace(ctx, cat, tenant); err != nil {
		return info, err
	}
	key, err := usableKey(ctx, cat, path)
	if err != nil {
		return info, err
	}
	if info.APIKey = key; key == "" {
		if info.APIKey, err = createKey(ctx, cat, tenant); err != nil {
			return info, err
		}
	}
	return info, writeTenantFile(path, info)
}

// ensureNamespace makes a tenant and its default namespace. They are looked for
// first, because an earlier start's are found also while the disk is full or the
// tenant has all the namespaces that it may have.
func ensureNamespace(ctx context.Context, cat *catalog.Catalog, tenant tenancy.TenantID) error {
	_, err := cat.Route(ctx, tenant, tenancy.DefaultNamespace)
	if !errors.Is(err, tenancy.ErrNamespaceNotFound) {
		return err
	}
	var exists *tenancy.AlreadyExistsError
	if err := cat.CreateTenant(ctx, tenant); err != nil && !errors.As(err, &exists) {
		return err
	}
	_, err = cat.CreateNamespaces(ctx, tenant, []string{tenancy.DefaultNamespace}, tenancy.Limits{}.WithDefaults())
	return err
}

// usableKey is the API key of an earlier start, or "" if it is of no use.
func usableKey(ctx context.Context, cat *catalog.Catalog, path string) (string, error) {
	earlier, err := readTenantFile(path)
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

func createKey(ctx context.Context, cat *catalog.Catalog, tenant tenancy.TenantID) (string, error) {
	key, secret, err := auth.GenerateAPIKey(rand.Reader)
	if err != nil {
		return "", err
	}
	hash := key.Hash()
	_, err = cat.CreateAPIKey(ctx, catalog.APIKey{
		ID: key.ID(), Tenant: tenant, SecretHash: hash[:], Description: "made when its node was started",
	})
	return secret, err
}

func readTenantFile(path string) (tenantInfo, error) {
	var info tenantInfo
	data, err := os.ReadFile(path)
	if err != nil {
		return info, err
	}
	return info, json.Unmarshal(data, &info)
}

// writeTenantFile writes a file for its owner's eyes only: it holds a secret.
func writeTenantFile(path string, info tenantInfo) error {
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
