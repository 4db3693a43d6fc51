package mvcc

import (
	"bytes"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// Bounds are the keys that satisfy all the bounds of r: those in [start, end),
// where an empty end is no upper bound. empty says that there can be none. The
// slices may share r's bytes.
func Bounds(r *flotillav1.KeyRange) (start, end []byte, empty bool) {
	start, end = r.GetStart(), r.GetEnd()
	if prefix := r.GetPrefix(); len(prefix) > 0 {
		if bytes.Compare(prefix, start) > 0 {
			start = prefix
		}
		after := prefixEnd(prefix)
		if len(after) > 0 && (len(end) == 0 || bytes.Compare(after, end) < 0) {
			end = after
		}
	}
	return start, end, len(end) > 0 && bytes.Compare(start, end) >= 0
}

// prefixEnd is the least key that is greater than all keys with the prefix. It
// is empty when there is none: the prefix is empty or all 0xff.
func prefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			end := bytes.Clone(prefix[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}

// within says whether key is in [start, end); an empty end is no upper bound.
func within(key, start, end []byte) bool {
	return bytes.Compare(key, start) >= 0 && (len(end) == 0 || bytes.Compare(key, end) < 0)
}
