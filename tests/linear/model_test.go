package linear

import (
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// TestCheckerRefuses proves that the checker can fail: each history is right
// but for one thing that a broken node might do.
func TestCheckerRefuses(t *testing.T) {
	t.Parallel()
	at := func(value int, count, revision uint64) (found [keysPerGroup]version) {
		found[0] = version{value: value, count: count, revision: revision}
		return found
	}
	type call struct {
		in  input
		out output
	}
	put1 := call{input{kind: put, value: 1}, output{revision: 2}}
	put2 := call{input{kind: put, value: 2}, output{revision: 3}}
	lost2 := call{input{kind: put, value: 2}, output{unknown: true}}
	removed := call{input{kind: remove}, output{count: 1, revision: 4}}
	both := call{input{kind: putBoth, value: 3, key: 0, other: 1}, output{revision: 2}}
	replaced := call{input{kind: replace, value: 5, expected: 2}, output{done: true, revision: 3}}

	tests := map[string]struct {
		calls []call // one after the other
		want  bool
	}{
		"a write is read":          {[]call{put1, put2, {input{kind: get}, output{found: at(2, 2, 3)}}}, true},
		"a stale read":             {[]call{put1, put2, {input{kind: get}, output{found: at(1, 1, 2)}}}, false},
		"a lost write":             {[]call{put1, {input{kind: get}, output{}}}, false},
		"a write that nobody made": {[]call{put1, {input{kind: get}, output{found: at(9, 1, 2)}}}, false},
		"a write applied twice":    {[]call{put1, {input{kind: get}, output{found: at(1, 2, 3)}}}, false},
		"another revision than was told": {
			[]call{put1, {input{kind: get}, output{found: at(1, 1, 3)}}}, false,
		},
		"a key comes back": {[]call{put1, put2, removed, {input{kind: get}, output{found: at(2, 2, 3)}}}, false},
		"a deletion finds nothing": {
			[]call{put1, {input{kind: remove}, output{count: 0, revision: 2}}}, false,
		},
		"a key is created anew": {
			[]call{put1, put2, removed, put1, {input{kind: get}, output{found: at(1, 1, 2)}}}, true,
		},
		"half of a transaction": {[]call{both, {input{kind: count}, output{count: 1}}}, false},
		"a whole transaction":   {[]call{both, {input{kind: count}, output{count: 2}}}, true},
		"two replace the same version": {
			[]call{put1, replaced, {input{kind: replace, value: 6, expected: 2}, output{done: true, revision: 4}}}, false,
		},
		"the second to replace is refused": {
			[]call{put1, replaced, {input{kind: replace, value: 6, expected: 2}, output{}}}, true,
		},
		"a replacement is refused for nothing": {
			[]call{put1, {input{kind: replace, value: 6, expected: 2}, output{}}}, false,
		},
		"a refused swap reads what was before": {
			[]call{put1, put2, {input{kind: swap, value: 6, expected: 2}, output{found: at(1, 1, 2)}}}, false,
		},
		"an unknown write happened": {
			[]call{put1, lost2, {input{kind: get}, output{found: at(2, 2, 7)}}}, true,
		},
		"an unknown write did not happen": {
			[]call{put1, lost2, {input{kind: get}, output{found: at(1, 1, 2)}}}, true,
		},
		"an unknown write happened later": {
			[]call{put1, lost2, {input{kind: get}, output{found: at(1, 1, 2)}}, {input{kind: get}, output{found: at(2, 2, 7)}}}, true,
		},
		"an unknown write is undone": {
			[]call{put1, lost2, {input{kind: get}, output{found: at(2, 2, 7)}}, {input{kind: get}, output{found: at(1, 1, 2)}}}, false,
		},
		"an unknown write happened twice": {
			[]call{put1, lost2, {input{kind: get}, output{found: at(2, 3, 8)}}}, false,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var history []porcupine.Operation
			for i, c := range tt.calls {
				op := porcupine.Operation{ClientId: i, Input: c.in, Output: c.out, Call: int64(2 * i), Return: int64(2*i + 1)}
				if c.out.unknown {
					op.Return = never
				}
				history = append(history, op)
			}
			require.Equal(t, tt.want, porcupine.CheckOperations(model(), history))
		})
	}
}
