package catalog

import (
	"fmt"
	"strings"

	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/tenancy"
)

const clusterKey = "cluster"

func shardKey(id shards.ShardID) string { return fmt.Sprintf("shards/%d", id) }

func tenantKey(id tenancy.TenantID) string { return "tenants/" + string(id) }

func namespacePrefix(tenant tenancy.TenantID) string { return "namespaces/" + string(tenant) + "/" }

func namespaceKey(tenant tenancy.TenantID, name string) string { return namespacePrefix(tenant) + name }

func apiKeyKey(id string) string { return "keys/" + id }

func tenantAPIKeysPrefix(tenant tenancy.TenantID) string {
	return "tenant-keys/" + string(tenant) + "/"
}

func tenantAPIKeyKey(tenant tenancy.TenantID, id string) string {
	return tenantAPIKeysPrefix(tenant) + id
}

// kindOf is the part of a key that may stand in an error: no names.
func kindOf(key string) string {
	kind, _, _ := strings.Cut(key, "/")
	return kind
}
