// Package gateway is the front door: it serves the API on one port as Connect,
// gRPC, gRPC-Web and JSON, the plain HTTP surface beside it, and the operators'
// port. It keeps no state: any node's gateway serves any tenant.
package gateway
