package linear

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

const (
	// groups of keys are independent of each other: an operation stays within
	// one, so the checker looks at one group at a time.
	groups = 4
	// keysPerGroup is how many keys a group has.
	keysPerGroup = 3
)

// never is when an operation of unknown outcome ends.
const never = math.MaxInt64

// kind is what an operation does.
type kind int

const (
	get     kind = iota // reads a key
	list                // reads all keys of the group at one revision
	count               // counts the keys of the group
	put                 // writes a key
	putBoth             // writes two keys in one transaction
	remove              // deletes a key
	replace             // writes a key if its mod revision is the expected one
	swap                // the same by a transaction, that reads the key otherwise
)

// write is whether the kind may change something.
func (k kind) write() bool { return k >= put }

// input is what a caller asked for. Every write has a value of its own, so
// that a value tells which write it comes from.
type input struct {
	kind  kind
	group int
	key   int
	other int // the second key of putBoth
	value int // of a write
	// expected is the mod revision that replace and swap ask for.
	expected uint64
}

// version is what is known of a key: the zero value is that it does not exist.
type version struct {
	value int
	// count is the key's version: how often it was written since its creation.
	count uint64
	// revision is the key's mod revision; 0 while nobody was told, after a
	// write of unknown outcome.
	revision uint64
}

// output is what the caller was told.
type output struct {
	unknown  bool // the outcome of a write is not known
	done     bool // replace and swap: the condition held
	found    [keysPerGroup]version
	count    int    // of count and remove
	revision uint64 // of a write
}

// state is the keys of one group.
type state [keysPerGroup]version

// model is the sequential specification of a group.
func model() porcupine.Model {
	return porcupine.Model{
		Partition: partition,
		Init:      func() any { return state{} },
		Step: func(before, in, out any) (bool, any) {
			return step(as[state](before), as[input](in), as[output](out))
		},
		DescribeOperation: func(in, out any) string { return describe(as[input](in), as[output](out)) },
		DescribeState:     func(s any) string { return fmt.Sprintf("%+v", s) },
	}
}

func partition(history []porcupine.Operation) [][]porcupine.Operation {
	parts := make(map[int][]porcupine.Operation)
	for _, op := range history {
		group := as[input](op.Input).group
		parts[group] = append(parts[group], op)
	}
	return slices.Collect(maps.Values(parts))
}

// as undoes the library's lack of types.
func as[T any](value any) T {
	typed, _ := value.(T)
	return typed
}

// step tells whether the group may answer so, and how it is afterwards.
func step(s state, in input, out output) (bool, state) {
	switch in.kind {
	case get:
		return s.see(in.key, out.found[in.key])
	case list:
		for key, found := range out.found {
			var ok bool
			if ok, s = s.see(key, found); !ok {
				return false, s
			}
		}
		return true, s
	case count:
		return s.size() == out.count, s
	case put:
		return s.write(in, out, in.key)
	case putBoth:
		return s.write(in, out, in.key, in.other)
	case remove:
		existed := 0
		if s[in.key].count > 0 {
			existed = 1
		}
		s[in.key] = version{}
		return out.unknown || out.count == existed, s
	case replace, swap:
		return s.replace(in, out)
	default:
		return false, s
	}
}

// see is a read of a key. It tells the revision of a write of unknown outcome.
func (s state) see(key int, found version) (bool, state) {
	known := s[key]
	if known.revision == 0 {
		known.revision = found.revision
	}
	s[key] = known
	return known == found, s
}

func (s state) size() (n int) {
	for _, v := range s {
		if v.count > 0 {
			n++
		}
	}
	return n
}

// write is a write of some keys at one revision, which is 0 if it is not known
// and otherwise newer than all before.
func (s state) write(in input, out output, keys ...int) (bool, state) {
	for _, v := range s {
		if !out.unknown && out.revision <= v.revision {
			return false, s
		}
	}
	for _, key := range keys {
		s[key] = version{value: in.value, count: s[key].count + 1, revision: out.revision}
	}
	return true, s
}

// replace is a write under a condition. A revision that nobody was told of yet
// cannot be the expected one.
func (s state) replace(in input, out output) (bool, state) {
	holds := s[in.key].revision == in.expected
	switch {
	case !out.unknown && out.done != holds:
		return false, s
	case holds:
		return s.write(in, out, in.key)
	case in.kind == swap && !out.unknown:
		return s.see(in.key, out.found[in.key])
	default:
		return true, s
	}
}

func describe(in input, out output) string {
	names := [...]string{"get", "list", "count", "put", "put both", "remove", "replace", "swap"}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d", names[in.kind], in.key)
	if in.kind == putBoth {
		fmt.Fprintf(&b, ",%d", in.other)
	}
	if in.kind.write() {
		fmt.Fprintf(&b, " = %d", in.value)
	}
	if in.expected != 0 {
		fmt.Fprintf(&b, " if revision %d", in.expected)
	}
	if out.unknown {
		return b.String() + ": outcome unknown"
	}
	fmt.Fprintf(&b, ": %+v", out)
	return b.String()
}
