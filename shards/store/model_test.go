package store

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// model is a shard's data the simplest way.
type model struct {
	versions map[versionID]string
	events   map[eventID]string
	rows     map[rowID]string
	dropped  map[tenancy.NamespaceID]bool
}

type (
	versionID struct {
		ns  tenancy.NamespaceID
		key string
		rev mvcc.Revision
	}
	eventID struct {
		ns  tenancy.NamespaceID
		rev mvcc.Revision
		sub uint32
	}
	rowID struct {
		table Table
		ns    tenancy.NamespaceID
		key   string
	}
)

func newModel() *model {
	return &model{map[versionID]string{}, map[eventID]string{}, map[rowID]string{}, map[tenancy.NamespaceID]bool{}}
}

func (m *model) clone() *model {
	return &model{maps.Clone(m.versions), maps.Clone(m.events), maps.Clone(m.rows), maps.Clone(m.dropped)}
}

type foundVersion struct {
	Key   string
	Rev   mvcc.Revision
	Value string
}

func (m *model) version(ns tenancy.NamespaceID, key string, at mvcc.Revision) *foundVersion {
	var found *foundVersion
	for id, value := range m.versions {
		if id.ns == ns && id.key == key && id.rev <= at && (found == nil || id.rev > found.Rev) {
			found = &foundVersion{key, id.rev, value}
		}
	}
	return found
}

func (m *model) versionsIn(ns tenancy.NamespaceID, start, end string, at mvcc.Revision, descending bool) []foundVersion {
	keys := map[string]bool{}
	for id := range m.versions {
		if id.ns == ns && id.key >= start && (end == "" || id.key < end) {
			keys[id.key] = true
		}
	}
	found := []foundVersion{}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if v := m.version(ns, key, at); v != nil {
			found = append(found, *v)
		}
	}
	if descending {
		slices.Reverse(found)
	}
	return found
}

func (m *model) eventsFrom(ns tenancy.NamespaceID, from mvcc.Revision) []eventID {
	found := []eventID{}
	for id := range m.events {
		if id.ns == ns && id.rev >= from {
			found = append(found, id)
		}
	}
	slices.SortFunc(found, func(a, b eventID) int { return cmp.Or(cmp.Compare(a.rev, b.rev), cmp.Compare(a.sub, b.sub)) })
	return found
}

func (m *model) rowsIn(table Table, ns tenancy.NamespaceID, start, end string) [][2]string {
	found := [][2]string{}
	for id, value := range m.rows {
		if id.table == table && id.ns == ns && id.key >= start && (end == "" || id.key < end) {
			found = append(found, [2]string{id.key, value})
		}
	}
	slices.SortFunc(found, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return found
}

// reads is what a View and a Batch have in common.
type reads struct {
	machine.Rows
	namespace func(ns tenancy.NamespaceID) mvcc.Reader
}

func (v *View) reads() reads { return reads{v, v.Namespace} }
func (b *Batch) reads() reads {
	return reads{b, func(ns tenancy.NamespaceID) mvcc.Reader { return b.Namespace(ns) }}
}

var (
	modelNamespaces = []tenancy.NamespaceID{1, 2, 3}
	modelTables     = []Table{machine.TableState, machine.TableAges, tableMax}
)

// Few keys and revisions, so that operations meet.
func modelKey() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"", "\x00", "a", "a\x00", "a\x09", "a\xff"})
}

func modelRevision() *rapid.Generator[mvcc.Revision] {
	return rapid.Map(rapid.Uint64Range(1, 6), func(n uint64) mvcc.Revision { return mvcc.Revision(n) })
}

// compare reads something at random from both.
func (m *model) compare(t *rapid.T, r reads) {
	ns := rapid.SampledFrom(modelNamespaces).Draw(t, "namespace")
	start, end := modelKey().Draw(t, "start"), modelKey().Draw(t, "end")
	at := modelRevision().Draw(t, "at")
	switch rapid.IntRange(0, 4).Draw(t, "read") {
	case 0, 1:
		rev, value, ok, err := r.namespace(ns).Version([]byte(start), at)
		require.NoError(t, err)
		want := m.version(ns, start, at)
		require.Equal(t, want != nil, ok)
		if ok {
			require.Equal(t, *want, foundVersion{start, rev, string(value)})
		}
	case 2:
		descending := rapid.Bool().Draw(t, "descending")
		it := r.namespace(ns).Versions([]byte(start), []byte(end), at, descending)
		found := []foundVersion{}
		for it.Next() {
			value, err := it.Value()
			require.NoError(t, err)
			found = append(found, foundVersion{string(it.Key()), it.Revision(), string(value)})
		}
		require.NoError(t, it.Close())
		require.Equal(t, m.versionsIn(ns, start, end, at, descending), found)
	case 3:
		it := r.namespace(ns).Events(at)
		found := []eventID{}
		for it.Next() {
			id := eventID{ns, it.Revision(), it.Sub()}
			require.Equal(t, m.events[id], string(it.Key()))
			found = append(found, id)
		}
		require.NoError(t, it.Close())
		require.Equal(t, m.eventsFrom(ns, at), found)
	case 4:
		table := rapid.SampledFrom(modelTables).Draw(t, "table")
		value, ok, err := r.Row(table, ns, []byte(start))
		require.NoError(t, err)
		want, wantOK := m.rows[rowID{table, ns, start}]
		require.Equal(t, wantOK, ok)
		require.Equal(t, want, string(value))
		it := r.Rows.Rows(table, ns, []byte(start), []byte(end))
		found := [][2]string{}
		for it.Next() {
			value, err := it.Value()
			require.NoError(t, err)
			found = append(found, [2]string{string(it.Key()), string(value)})
		}
		require.NoError(t, it.Close())
		require.Equal(t, m.rowsIn(table, ns, start, end), found)
	}
}

// write changes something at random in both.
func (m *model) write(t *rapid.T, b *Batch) {
	ns := rapid.SampledFrom(modelNamespaces).Draw(t, "namespace")
	key, rev := modelKey().Draw(t, "key"), modelRevision().Draw(t, "revision")
	sub := uint32(rapid.IntRange(0, 2).Draw(t, "sub"))
	table := rapid.SampledFrom(modelTables).Draw(t, "table")
	value := rapid.SampledFrom([]string{"", "x", "y", "z"}).Draw(t, "value")
	if rapid.IntRange(0, 19).Draw(t, "large") == 0 {
		value = strings.Repeat("v", rememberedValueBytesMax+1)
	}
	w := b.Namespace(ns)
	switch rapid.IntRange(0, 8).Draw(t, "write") {
	case 0, 1, 2:
		if _, stored := m.versions[versionID{ns, key, rev}]; stored || m.dropped[ns] {
			return // each is stored at most once, and none after the namespace was dropped
		}
		require.NoError(t, w.PutVersion([]byte(key), rev, []byte(value)))
		m.versions[versionID{ns, key, rev}] = value
	case 3:
		require.NoError(t, w.DeleteVersion([]byte(key), rev))
		delete(m.versions, versionID{ns, key, rev})
	case 4:
		require.NoError(t, w.PutEvent(rev, sub, []byte(key)))
		m.events[eventID{ns, rev, sub}] = key
	case 5:
		require.NoError(t, w.DeleteEvent(rev, sub))
		delete(m.events, eventID{ns, rev, sub})
	case 6:
		require.NoError(t, b.SetRow(table, ns, []byte(key), []byte(value)))
		m.rows[rowID{table, ns, key}] = value
	case 7:
		require.NoError(t, b.DeleteRow(table, ns, []byte(key)))
		delete(m.rows, rowID{table, ns, key})
	case 8:
		if ns == modelNamespaces[0] || rapid.IntRange(0, 2).Draw(t, "drop") > 0 {
			return // or there would soon be nothing to read
		}
		require.NoError(t, b.DropNamespace(ns))
		m.drop(ns)
	}
}

func (m *model) drop(ns tenancy.NamespaceID) {
	m.dropped[ns] = true
	maps.DeleteFunc(m.versions, func(id versionID, _ string) bool { return id.ns == ns })
	maps.DeleteFunc(m.events, func(id eventID, _ string) bool { return id.ns == ns })
	maps.DeleteFunc(m.rows, func(id rowID, _ string) bool { return id.ns == ns && id.table != machine.TableState })
}

// Goal: a batch and a view read what the model says, whatever was written in
// the batch, before it, or flushed. Method: random operations on both; another
// shard with other data is their neighbour on each side.
func TestReadsAgreeWithAModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s, err := Open(testConfig(vfs.NewMem()))
		require.NoError(t, err)
		sh := s.Shard(2)
		for _, id := range []uint64{1, 3} {
			b := s.Shard(id).NewBatch()
			require.NoError(t, b.SetRow(machine.TableState, 1, nil, []byte("neighbour")))
			require.NoError(t, b.Namespace(1).PutVersion([]byte("a"), 1, []byte("neighbour")))
			require.NoError(t, b.Commit())
			require.NoError(t, b.Close())
		}
		committed := newModel()
		view, seen := sh.NewView(), committed.clone()
		for range rapid.IntRange(1, 6).Draw(t, "batches") {
			b, m := sh.NewBatch(), committed.clone()
			for range rapid.IntRange(0, 30).Draw(t, "operations") {
				if rapid.Bool().Draw(t, "write") {
					m.write(t, b)
				} else {
					m.compare(t, b.reads())
				}
			}
			if rapid.IntRange(0, 4).Draw(t, "give up") > 0 {
				require.NoError(t, b.Commit())
				committed = m
			}
			require.NoError(t, b.Close())
			if rapid.Bool().Draw(t, "flush") {
				require.NoError(t, sh.Flush())
			}
			seen.compare(t, view.reads())
			if rapid.Bool().Draw(t, "new view") {
				require.NoError(t, view.Close())
				view, seen = sh.NewView(), committed.clone()
				seen.compare(t, view.reads())
			}
		}
		require.NoError(t, view.Close())
		require.NoError(t, s.Close())
	})
}

// A key with thousands of versions costs a few seeks, not a walk.
func TestOldVersionsAreNotWalked(t *testing.T) {
	t.Parallel()
	s := openStore(t, testConfig(vfs.NewMem()))
	sh := s.Shard(1)
	const versions = 5000
	for _, key := range []string{"a", "b", "c"} {
		commit(t, sh, func(b *Batch) {
			for rev := mvcc.Revision(1); rev <= versions; rev++ {
				putVersion(t, b, key, rev, strings.Repeat("v", 10))
			}
		})
	}
	for _, descending := range []bool{false, true} {
		for _, at := range []mvcc.Revision{1, versions / 2, versions} {
			view := sh.NewView()
			it := view.Namespace(1).Versions(nil, nil, at, descending)
			var keys []byte
			for it.Next() {
				require.Equal(t, at, it.Revision())
				keys = append(keys, it.Key()...)
			}
			if descending {
				slices.Reverse(keys)
			}
			require.Equal(t, "abc", string(bytes.TrimSpace(keys)))
			require.Less(t, stepsOf(it), 100)
			require.NoError(t, it.Close())
			require.NoError(t, view.Close())
		}
	}
}

// stepsOf is how many keys an iterator was at.
func stepsOf(it mvcc.VersionIterator) int {
	var stats pebble.IteratorStats
	switch it := it.(type) {
	case *versionIterator:
		stats = it.it.Stats()
	case *versionsDown:
		stats = it.it.Stats()
	}
	return stats.ForwardStepCount[pebble.InternalIterCall] + stats.ReverseStepCount[pebble.InternalIterCall]
}
