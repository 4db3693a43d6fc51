package watch

import (
	"testing"

	"github.com/stretchr/testify/require"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

func put(key, value string, create, mod, version uint64) *flotilla.Event {
	return &flotilla.Event{KV: &flotilla.KeyValue{
		Key: key, Value: []byte(value), CreateRevision: create, ModRevision: mod, Version: version,
	}}
}

func deletion(key string, mod uint64) *flotilla.Event {
	return &flotilla.Event{Deleted: true, KV: &flotilla.KeyValue{Key: key, ModRevision: mod}}
}

func batch(revision uint64, events ...*flotilla.Event) *flotilla.WatchBatch {
	return &flotilla.WatchBatch{Revision: revision, Events: events}
}

// scene is a small history as watches should show it:
//
//	2  put a=1
//	3  put a=2, put b=1
//	4  delete a
//	5  put a=3
type scene struct {
	all, onlyA, late *Record
	writes           []Write
	last             map[string]*flotilla.KeyValue
	revision         uint64
}

func newScene() *scene {
	a2, a3, b3, a4, a5 := put("a", "1", 2, 2, 1), put("a", "2", 2, 3, 2), put("b", "1", 3, 3, 1), deletion("a", 4), put("a", "3", 5, 5, 1)
	withPrev := func(e, before *flotilla.Event) *flotilla.Event {
		return &flotilla.Event{Deleted: e.Deleted, KV: e.KV, PrevKV: before.KV}
	}
	return &scene{
		all: &Record{
			Name: "all", Keys: flotilla.AllKeys(),
			Batches: []*flotilla.WatchBatch{batch(1), batch(2, a2), batch(4, a3, b3, a4), batch(5, a5), batch(5)},
		},
		onlyA: &Record{
			Name: "only a", Keys: flotilla.OneKey("a"), Opts: flotilla.WatchOptions{PrevKV: true},
			Batches: []*flotilla.WatchBatch{batch(1), batch(2, a2), batch(3, withPrev(a3, a2)), batch(4, withPrev(a4, a3)), batch(5, a5)},
		},
		late: &Record{
			Name: "late", Keys: flotilla.AllKeys(), Opts: flotilla.WatchOptions{From: 3, NoDelete: true},
			Batches: []*flotilla.WatchBatch{batch(2), batch(3, a3, b3), batch(4)},
		},
		writes: []Write{
			{Revision: 3, Puts: map[string]string{"a": "2", "b": "1"}},
			{Revision: 4, Deleted: []string{"a", "nothing"}},
		},
		last:     map[string]*flotilla.KeyValue{"a": a5.KV, "b": b3.KV},
		revision: 5,
	}
}

func (s *scene) check() error {
	return Check([]*Record{s.all, s.onlyA, s.late}, s.writes, s.last, s.revision)
}

func TestCheckLetsGoodWatchesPass(t *testing.T) {
	t.Parallel()
	require.NoError(t, newScene().check())
}

// Each mistake that a server could make is found.
func TestCheckFindsPlantedMistakes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, finds string
		plant       func(s *scene)
	}{
		{"an event is lost by one watch", "not reliable: \"a\" at revision 3 is missing", func(s *scene) {
			s.onlyA.Batches[2].Events = nil
		}},
		{"an event is lost by all", "not reliable: no watch showed revision 5", func(s *scene) {
			s.all.Batches[3].Events, s.onlyA.Batches[4].Events = nil, nil
		}},
		{"a part of a revision is lost", "not reliable: \"b\" at revision 3 is missing", func(s *scene) {
			s.all.Batches[2].Events = append(s.all.Batches[2].Events[:1:1], s.all.Batches[2].Events[2])
		}},
		{"an event comes twice at once", "not unique", func(s *scene) {
			s.all.Batches[1].Events = append(s.all.Batches[1].Events, s.all.Batches[1].Events[0])
		}},
		{"an event comes again", "not ordered", func(s *scene) {
			s.all.Batches[4].Events = s.all.Batches[1].Events
		}},
		{"events change places", "not ordered", func(s *scene) {
			b := s.all.Batches[2]
			b.Events = []*flotilla.Event{b.Events[2], b.Events[0], b.Events[1]}
		}},
		{"a revision is split", "not atomic", func(s *scene) {
			b := s.all.Batches[2].Events
			s.all.Batches = []*flotilla.WatchBatch{batch(1), s.all.Batches[1], batch(3, b[0]), batch(4, b[1:]...), s.all.Batches[3]}
		}},
		{"an event follows its bookmark", "not bookmarkable", func(s *scene) {
			s.all.Batches[1].Revision = 3
		}},
		{"a bookmark goes back", "not bookmarkable", func(s *scene) {
			s.all.Batches[4].Revision = 4
		}},
		{"an event comes before the beginning", "before the beginning", func(s *scene) {
			s.late.Opts.From = 4
		}},
		{"another key is shown", "not filtered", func(s *scene) {
			s.onlyA.Batches[2].Events = s.all.Batches[2].Events[:2]
		}},
		{"a filtered event is shown", "not filtered", func(s *scene) {
			s.late.Batches[2].Events = []*flotilla.Event{deletion("a", 4)}
		}},
		{"another value is shown", "not what another watch showed", func(s *scene) {
			s.onlyA.Batches[1].Events = []*flotilla.Event{put("a", "x", 2, 2, 1)}
		}},
		{"a wrong previous value", "the version before \"a\" at revision 4", func(s *scene) {
			s.onlyA.Batches[3].Events[0].PrevKV = s.all.Batches[1].Events[0].KV
		}},
		{"a previous value of a creation", "the version before \"a\" at revision 5", func(s *scene) {
			e := *s.onlyA.Batches[4].Events[0]
			e.PrevKV = s.all.Batches[1].Events[0].KV
			s.onlyA.Batches[4].Events[0] = &e
		}},
		{"a wrong version", "not right: \"a\" at revision 3 has version 7", func(s *scene) {
			s.all.Batches[2].Events[0].KV.Version = 7
		}},
		{"the end is another", "\"b\" is not as the last event on it", func(s *scene) {
			s.last["b"] = s.last["a"]
		}},
		{"a key that nobody showed", "\"c\" exists", func(s *scene) {
			s.last["c"] = &flotilla.KeyValue{Key: "c"}
		}},
		{"a revision from nowhere", "revision 6 was shown", func(s *scene) {
			s.all.Batches = append(s.all.Batches, batch(6, put("z", "", 6, 6, 1)))
		}},
		{"an acknowledged write is not there", "not durable: \"c\"", func(s *scene) {
			s.writes = append(s.writes, Write{Revision: 2, Puts: map[string]string{"c": "1"}})
		}},
		{"two writes have one revision", "not durable: \"b\" changed at revision 3", func(s *scene) {
			s.writes = append(s.writes, Write{Revision: 3, Puts: map[string]string{"a": "2"}})
		}},
		{"a watch without a beginning", "not begun", func(s *scene) {
			s.all.Batches = s.all.Batches[1:]
			s.all.Opts.From = 2
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScene()
			test.plant(s)
			require.ErrorContains(t, s.check(), test.finds)
		})
	}
}
