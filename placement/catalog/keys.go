package catalog

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/tenancy"
)

const (
	clusterKey       = "cluster"
	nodesPrefix      = "nodes/"
	livePrefix       = "live/"
	placementsPrefix = "placements/"
	shardsPrefix     = "shards/"
	tenantsPrefix    = "tenants/"
	operatorsKey     = "operators" // rewritten with each change of them
	operatorsPrefix  = "operators/"
	auditPrefix      = "audit/"
	purgesPrefix     = "purges/"
	tokenKeysPrefix  = "token-keys/"
	duePrefix        = "due/"
	endedKeysPrefix  = "ended-keys/"
)

func nodeKey(id string) string { return nodesPrefix + id }

func liveKey(node string) string { return livePrefix + node }

func placementKey(id shards.ShardID) string { return fmt.Sprintf("%s%d", placementsPrefix, id) }

func shardKey(id shards.ShardID) string { return fmt.Sprintf("%s%d", shardsPrefix, id) }

// parseShard is the shard of a key's last part.
func parseShard(name string) (shards.ShardID, error) {
	id, err := strconv.ParseUint(name, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the catalog has a shard without a number: %w", err)
	}
	return shards.ShardID(id), nil
}

func tenantKey(id tenancy.TenantID) string { return tenantsPrefix + string(id) }

func issuersKey(tenant tenancy.TenantID) string { return "issuers/" + string(tenant) }

func tokenKeyKey(id string) string { return tokenKeysPrefix + id }

func operatorKey(name string) string { return operatorsPrefix + name }

// auditKey orders entries by time; chance tells those of one millisecond apart.
func auditKey(at time.Time, chance string) string {
	return fmt.Sprintf("%s%016x-%s", auditPrefix, at.UnixMilli(), chance)
}

func purgeKey(ns tenancy.NamespaceID) string { return fmt.Sprintf("%s%d", purgesPrefix, ns) }

// dueKey orders tenants by when their data is to be removed.
func dueKey(purgeMS uint64, tenant tenancy.TenantID) string {
	return fmt.Sprintf("%s%016x-%s", duePrefix, purgeMS, tenant)
}

func namespacePrefix(tenant tenancy.TenantID) string { return "namespaces/" + string(tenant) + "/" }

func namespaceKey(tenant tenancy.TenantID, name string) string { return namespacePrefix(tenant) + name }

func apiKeyKey(id string) string { return "keys/" + id }

func tenantAPIKeysPrefix(tenant tenancy.TenantID) string {
	return "tenant-keys/" + string(tenant) + "/"
}

func tenantAPIKeyKey(tenant tenancy.TenantID, id string) string {
	return tenantAPIKeysPrefix(tenant) + id
}

// endedKeyKey orders API keys that are gone by when that was.
func endedKeyKey(at time.Time, id string) string {
	return fmt.Sprintf("%s%016x-%s", endedKeysPrefix, at.UnixMilli(), id)
}

// kindOf is the part of a key that may stand in an error: no names.
func kindOf(key string) string {
	kind, _, _ := strings.Cut(key, "/")
	return kind
}
