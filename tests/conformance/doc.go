// Package conformance runs the same requests against etcd and against the etcd
// v3 API of a Flotilla node, through etcd's own clients, and compares what both
// answer, value by value and error by error. It is a module of its own, so that
// the product does not require etcd's server.
package conformance
