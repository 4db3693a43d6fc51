// Package tenancy owns the words and rules of the customer boundary: tenants,
// namespaces, principals, permissions and limits. It reads no clock and does no
// IO; records are stored by placement/catalog.
package tenancy

// TenantID names a tenant: [a-z0-9-], 1 to 63 characters.
type TenantID string

// NamespaceID is a namespace's number inside the platform. Numbers are never
// used again, so what is left of a deleted namespace can never be reached
// through a new one of the same name.
type NamespaceID uint64

// SystemNamespace is the namespace in which the platform keeps its own state.
const SystemNamespace NamespaceID = 1

// LedgerNamespace is the namespace, on the system shard too, in which the platform
// keeps what it counts: usage, and when credentials were used last. No node watches
// it.
const LedgerNamespace NamespaceID = 2

// SystemTenant is the tenant of the system namespace. No credential belongs to it.
const SystemTenant TenantID = "flotilla-system"
