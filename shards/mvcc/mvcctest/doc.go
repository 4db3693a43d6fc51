// Package mvcctest is for tests of the key space and of what stands on it: a
// storage in memory that is strict about its contract, and hooks that know
// leases and locks by name. It is never part of the product.
package mvcctest
