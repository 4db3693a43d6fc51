// Package isolation holds one node to T1: nothing of one tenant is visible to
// another, and nothing is done for who may not have it done. It walks all procedures
// of all ports by their descriptors, so that a new one fails until its permission is
// written down here; it compares what a tenant is told in a node of its own with
// what it is told beside another tenant; and it looks for secrets where none may be.
package isolation
