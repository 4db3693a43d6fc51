//go:build !cgo || !linux

package store

// limitArenas has nothing to do where Pebble takes its memory from Go, or the
// allocator has no such setting.
func limitArenas() {}
