package mvcc_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

func TestBounds(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		prefix, start, end string
		wantStart, wantEnd string
		empty              bool
	}{
		"everything":             {},
		"prefix":                 {prefix: "ab", wantStart: "ab", wantEnd: "ac"},
		"prefix that carries":    {prefix: "a\xff\xff", wantStart: "a\xff\xff", wantEnd: "b"},
		"prefix without an end":  {prefix: "\xff\xff", wantStart: "\xff\xff"},
		"endless prefix and end": {prefix: "\xff", end: "\xff\x01", wantStart: "\xff", wantEnd: "\xff\x01"},
		"start":                  {start: "b", wantStart: "b"},
		"start and end":          {start: "b", end: "c", wantStart: "b", wantEnd: "c"},
		"start within a prefix":  {prefix: "a", start: "ab", wantStart: "ab", wantEnd: "b"},
		"start before a prefix":  {prefix: "b", start: "a", wantStart: "b", wantEnd: "c"},
		"end within a prefix":    {prefix: "a", end: "ab", wantStart: "a", wantEnd: "ab"},
		"end after a prefix":     {prefix: "a", end: "c", wantStart: "a", wantEnd: "b"},
		"start after a prefix":   {prefix: "a", start: "b", wantStart: "b", wantEnd: "b", empty: true},
		"end before a prefix":    {prefix: "b", end: "a", wantStart: "b", wantEnd: "a", empty: true},
		"start is end":           {start: "a", end: "a", wantStart: "a", wantEnd: "a", empty: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start, end, empty := mvcc.Bounds(&flotillav1.KeyRange{Prefix: b(tt.prefix), Start: b(tt.start), End: b(tt.end)})
			require.Equal(t, tt.wantStart, string(start))
			require.Equal(t, tt.wantEnd, string(end))
			require.Equal(t, tt.empty, empty)
		})
	}
	_, _, empty := mvcc.Bounds(nil)
	require.False(t, empty)
}

// TestBoundsAreTheKeysThatSatisfyAll compares the bounds with the definition.
func TestBoundsAreTheKeysThatSatisfyAll(t *testing.T) {
	t.Parallel()
	short := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0xfe, 0xff}), 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		r := &flotillav1.KeyRange{Prefix: short.Draw(t, "prefix"), Start: short.Draw(t, "start"), End: short.Draw(t, "end")}
		key := short.Draw(t, "key")
		want := bytes.HasPrefix(key, r.GetPrefix()) && bytes.Compare(key, r.GetStart()) >= 0 &&
			(len(r.GetEnd()) == 0 || bytes.Compare(key, r.GetEnd()) < 0)
		before := r.String()
		start, end, empty := mvcc.Bounds(r)
		got := !empty && bytes.Compare(key, start) >= 0 && (len(end) == 0 || bytes.Compare(key, end) < 0)
		if got != want {
			t.Fatalf("%x in [%x, %x): %v, by definition %v", key, start, end, got, want)
		}
		if r.String() != before {
			t.Fatal("the range was changed")
		}
	})
}
