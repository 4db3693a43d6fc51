//go:build cgo && linux

package store

/*
#include <malloc.h>

static void one_arena(void) {
#ifdef M_ARENA_MAX
	mallopt(M_ARENA_MAX, 1);
#endif
}
*/
import "C"

// limitArenas has the C allocator, from which Pebble takes its cache and its
// memtables, keep one heap instead of one for each thread. A block's memory is
// given back on another thread than it was taken on, so with many heaps each
// keeps free pieces that the others cannot use: at a million keys that was
// 100 MB, a third of the whole process.
func limitArenas() { C.one_arena() }
