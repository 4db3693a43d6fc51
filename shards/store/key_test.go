package store

import (
	"bytes"
	"cmp"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// place is where a version is, the way people order it.
type place struct {
	Shard uint32
	NS    tenancy.NamespaceID
	Key   []byte
	Rev   mvcc.Revision
}

func (p place) encode() []byte { return appendVersion(nil, p.Shard, p.NS, p.Key, p.Rev) }

func (p place) compare(q place) int {
	return cmp.Or(
		cmp.Compare(p.Shard, q.Shard), cmp.Compare(p.NS, q.NS), bytes.Compare(p.Key, q.Key), cmp.Compare(q.Rev, p.Rev))
}

// awkward draws bytes that collide with sentinels, suffix lengths and borders.
func awkward() *rapid.Generator[[]byte] {
	return rapid.SliceOfN(rapid.SampledFrom([]byte{0x00, 0x01, 0x09, 0x0a, 'a', 0xfe, 0xff}), 0, 12)
}

func anyPlace() *rapid.Generator[place] {
	return rapid.Custom(func(t *rapid.T) place {
		return place{
			Shard: rapid.SampledFrom([]uint32{1, 2, 9, 256, MaxShardID}).Draw(t, "shard"),
			NS:    rapid.SampledFrom([]tenancy.NamespaceID{0, 1, 9, 1<<64 - 1}).Draw(t, "namespace"),
			Key:   awkward().Draw(t, "key"),
			Rev:   rapid.SampledFrom([]mvcc.Revision{0, 1, 9, 256, 1<<64 - 1}).Draw(t, "revision"),
		}
	})
}

func TestVersionKeysKeepTheOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, q := anyPlace().Draw(t, "p"), anyPlace().Draw(t, "q")
		a, b := p.encode(), q.encode()
		require.Equal(t, p.compare(q), compareKeys(a, b))
		require.Equal(t, p.compare(q) == 0, newComparer().Equal(a, b))
		require.NoError(t, validateKey(a))
		require.Equal(t, len(a)-versionSuffixBytes, splitKey(a))
		require.Len(t, a, versionBytes(p.Key))

		key, rev, ok := decodeVersion(a)
		require.True(t, ok)
		require.Equal(t, p.Rev, rev)
		require.True(t, bytes.Equal(p.Key, key))

		// The prefix comes before all its versions and after all smaller keys'.
		prefix := appendRow(nil, q.Shard, q.NS, machine.TableVersions, q.Key)
		q.Rev = 1<<64 - 1
		require.Equal(t, p.compare(q) < 0, compareKeys(a, prefix) < 0)
	})
}

func TestShardBoundsEncloseTheShard(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := anyPlace().Draw(t, "p")
		shard := rapid.SampledFrom([]uint32{1, 2, 3, 8, 9, 10, 255, 256, MaxShardID}).Draw(t, "bounded shard")
		k := p.encode()
		inside := compareKeys(shardBound(shard), k) <= 0 && compareKeys(k, shardBound(shard+1)) < 0
		require.Equal(t, p.Shard == shard, inside)
		inTable := compareKeys(appendRow(nil, p.Shard, p.NS, machine.TableVersions, nil), k) <= 0 &&
			compareKeys(k, appendTableEnd(nil, p.Shard, p.NS, machine.TableVersions)) < 0
		require.True(t, inTable)
	})
}

func TestComparerPassesPebblesCheck(t *testing.T) {
	t.Parallel()
	var prefixes, suffixes [][]byte
	for _, key := range []string{"", "a", "\x00", "a\x00", "a\x00\x00", "a\x09", "\x09", "\xff", "\xff\x00\x09", "b\x01"} {
		prefixes = append(prefixes,
			appendRow(nil, 1, 7, machine.TableVersions, []byte(key)),
			appendRow(nil, 9, 1<<63, machine.TableState, []byte(key)))
	}
	prefixes = append(prefixes, appendEvent(nil, 1, 7, 9, 9), shardBound(9))
	for _, rev := range []mvcc.Revision{0, 1, 9, 1 << 40, 1<<64 - 1} {
		suffixes = append(suffixes, appendRevision(nil, rev))
	}
	require.NoError(t, pebble.CheckComparer(newComparer(), prefixes, suffixes))
}

// What pebble.CheckComparer leaves out.
func TestComparerShortensKeysSoundly(t *testing.T) {
	t.Parallel()
	c := newComparer()
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyPlace().Draw(t, "a").encode(), anyPlace().Draw(t, "b").encode()
		if rapid.Bool().Draw(t, "bare") {
			a = a[:splitKey(a)]
		}
		if compareKeys(a, b) < 0 {
			s := c.Separator([]byte("kept"), a, b)
			require.True(t, bytes.HasPrefix(s, []byte("kept")))
			s = s[len("kept"):]
			require.NoError(t, validateKey(s))
			require.LessOrEqual(t, compareKeys(a, s), 0)
			require.Negative(t, compareKeys(s, b))
			require.LessOrEqual(t, c.AbbreviatedKey(a), c.AbbreviatedKey(b))
		}
		s := c.Successor(nil, a)
		require.NoError(t, validateKey(s))
		require.LessOrEqual(t, compareKeys(a, s), 0)

		prefix := a[:splitKey(a)]
		next := c.ImmediateSuccessor(nil, prefix)
		require.NoError(t, validateKey(next))
		require.Negative(t, compareKeys(a, next))
		if other := b[:splitKey(b)]; compareKeys(prefix, other) < 0 {
			require.LessOrEqual(t, compareKeys(next, other), 0)
		}
	})
	require.NoError(t, validateKey(c.Successor(nil, nil)))
}

// The stored bytes never change meaning: this fails when somebody changes them.
func TestKeyBytes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		key       []byte
		want      string
		formatted string
	}{
		"row": {
			appendRow(nil, 3, 0, machine.TableState, []byte("x")), "00000003 0000000000000000 01 78 00",
			"shard 3 namespace 0 table 1 key of 1 bytes",
		},
		"version": {
			appendVersion(nil, 3, 258, []byte("key"), 2), "00000003 0000000000000102 02 6b6579 00 fffffffffffffffd 09",
			"shard 3 namespace 258 table 2 key of 3 bytes revision 2",
		},
		"event": {
			appendEvent(nil, 3, 258, 2, 1), "00000003 0000000000000102 03 0000000000000002 00000001 00",
			"shard 3 namespace 258 table 3 key of 12 bytes",
		},
		"bound": {shardBound(4), "00000004 00", "bound of 5 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := bytes.ReplaceAll([]byte(test.want), []byte(" "), nil)
			require.Equal(t, string(want), fmt.Sprintf("%x", test.key))
			require.Equal(t, test.formatted, fmt.Sprint(newComparer().FormatKey(test.key)))
		})
	}
}

// FuzzKeyEncoding: keys come back as they went in, in the order they had, and
// bytes that are no keys are told apart without a panic.
func FuzzKeyEncoding(f *testing.F) {
	f.Add([]byte("a"), uint64(1), []byte("a\x00"), uint64(2))
	f.Add([]byte{}, uint64(0), []byte{0}, uint64(1<<64-1))
	f.Add([]byte{9}, uint64(9), []byte{0, 9}, uint64(0x0909090909090909))
	f.Fuzz(func(t *testing.T, key1 []byte, rev1 uint64, key2 []byte, rev2 uint64) {
		p := place{Shard: 1, NS: 1, Key: key1, Rev: mvcc.Revision(rev1)}
		q := place{Shard: 1, NS: 1, Key: key2, Rev: mvcc.Revision(rev2)}
		a, b := p.encode(), q.encode()
		require.Equal(t, p.compare(q), compareKeys(a, b))
		for _, k := range [][]byte{a, b} {
			require.NoError(t, validateKey(k))
			require.NoError(t, validateKey(k[:splitKey(k)]))
		}
		key, rev, ok := decodeVersion(a)
		require.True(t, ok)
		require.True(t, bytes.Equal(key1, key))
		require.Equal(t, p.Rev, rev)
		_, _, ok = decodeVersion(appendRow(nil, 1, 1, machine.TableState, key1))
		require.False(t, ok)

		// As raw bytes.
		require.Equal(t, compareKeys(key1, key2), -compareKeys(key2, key1))
		require.Equal(t, bytes.Equal(key1, key2), compareKeys(key1, key2) == 0)
		if key, rev, ok := decodeVersion(key1); ok {
			require.Equal(t, key1[headerBytes:], appendVersion(nil, 0, 0, key, rev)[headerBytes:])
		}
		_, _, _ = decodeEvent(key1)
		_ = fmt.Sprint(newComparer().FormatKey(key1))
	})
}
