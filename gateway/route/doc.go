// Package route brings requests to the shard that owns their namespace: it
// admits them (who asks, which namespace, what is allowed, which limits hold),
// turns mutations into commands and answers reads from the shard's state. All
// front doors share it: Connect, plain HTTP, batches and pipelines.
package route
