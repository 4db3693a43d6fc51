// Package e2e uses the real program as its users do: the quick start, plain
// HTTP, the command line, the RPC protocols, configuration, and what goes
// wrong. Each file is one subject.
package e2e
