package machine_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/store"
	"github.com/flotillakv/flotilla/shards/store/storetest"
	"github.com/flotillakv/flotilla/tenancy"
)

// answersModel is the plain statement of which answers are kept: a list of what each
// entry kept of each namespace, oldest first.
type answersModel struct {
	max    int
	fairly bool
	list   []modelAnswers
}

type modelAnswers struct {
	owner     tenancy.NamespaceID // 0 before answers are shared fairly
	entry, at uint64
	ids       []modelID
}

type modelID struct {
	ns       tenancy.NamespaceID
	id       string
	revision uint64
}

func (m *answersModel) find(ns tenancy.NamespaceID, id string) (revision uint64, found bool) {
	for _, answers := range m.list {
		for _, kept := range answers.ids {
			if kept.ns == ns && kept.id == id {
				return kept.revision, true
			}
		}
	}
	return 0, false
}

func (m *answersModel) counts() (total int, counts map[tenancy.NamespaceID]int) {
	counts = map[tenancy.NamespaceID]int{}
	for _, answers := range m.list {
		counts[answers.owner] += len(answers.ids)
		total += len(answers.ids)
	}
	return total, counts
}

// keep adds one to those of the present entry.
func (m *answersModel) keep(entry, at uint64, kept modelID) {
	owner := kept.ns
	if !m.fairly {
		owner = 0
	}
	for i := range m.list {
		if m.list[i].entry == entry && m.list[i].owner == owner {
			m.list[i].ids = append(m.list[i].ids, kept)
			return
		}
	}
	m.list = append(m.list, modelAnswers{owner: owner, entry: entry, at: at, ids: []modelID{kept}})
}

// endEntry forgets what is too old, and then what is too much.
func (m *answersModel) endEntry(now uint64) {
	const tenMinutes = 10 * 60 * 1000
	m.list = slices.DeleteFunc(m.list, func(a modelAnswers) bool { return a.at+tenMinutes < now })
	for {
		total, counts := m.counts()
		if total <= m.max {
			return
		}
		// Before answers are shared fairly, those of an entry go together.
		oldest := slices.IndexFunc(m.list, func(a modelAnswers) bool {
			for owner, count := range counts {
				if count > counts[a.owner] || count == counts[a.owner] && owner < a.owner {
					return false
				}
			}
			return true
		})
		if m.list[oldest].ids = m.list[oldest].ids[1:]; m.list[oldest].owner == 0 || len(m.list[oldest].ids) == 0 {
			m.list = slices.Delete(m.list, oldest, oldest+1)
		}
	}
}

func (m *answersModel) kept() map[tenancy.NamespaceID][]string {
	kept := map[tenancy.NamespaceID][]string{}
	for _, answers := range m.list {
		for _, one := range answers.ids {
			kept[answers.owner] = append(kept[answers.owner], machine.RequestDigest(one.ns, one.id))
		}
	}
	return kept
}

// batch applies some entries at once.
func (s *shard) batch(entries [][]byte) (results []machine.Result) {
	s.t.Helper()
	batch := s.rows.NewBatch()
	defer func() { require.NoError(s.t, batch.Close()) }()
	for _, entry := range entries {
		s.index++
		var err error
		results, err = s.machine.Apply(batch, s.index, entry, results)
		require.NoError(s.t, err)
	}
	_, err := s.machine.Finish(batch, nil)
	require.NoError(s.t, err)
	require.NoError(s.t, batch.Commit())
	return results
}

// Goal: what is kept, and so what a retry is told, is what the plain statement says,
// and a replica that starts again anywhere, with batches cut anywhere, goes on like
// one that does not. Method: two replicas apply random entries of loud and quiet
// namespaces; one is loaded anew after each of its batches.
func TestKeptAnswersAreThoseOfThePlainStatement(t *testing.T) {
	t.Parallel()
	stores := [2]*store.Store{}
	for i := range stores {
		st, err := store.Open(storetest.NewDisk().Config())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, st.Close()) })
		stores[i] = st
	}
	shards := uint64(0)
	rapid.Check(t, func(r *rapid.T) {
		shards++
		most := rapid.IntRange(1, 30).Draw(r, "answers")
		model := answersModel{max: most}
		straight := &shard{t: t, rows: stores[0].Shard(shards), answersMax: most}
		restarting := &shard{t: t, rows: stores[1].Shard(shards), answersMax: most}
		straight.load()
		restarting.load()
		revisions, now := map[uint64]uint64{}, uint64(0)
		levelAt := rapid.IntRange(0, 8).Draw(r, "entries below the level")
		var waiting [][]byte
		for i := range rapid.IntRange(1, 30).Draw(r, "entries") {
			now += rapid.SampledFrom([]uint64{0, 1000, 1000, 100_000, 599_000, 601_000}).Draw(r, "later")
			var commands []*internalv1.Command
			var want []uint64
			kept := false
			if i == levelAt {
				commands, model.fairly = append(commands, raise(machine.Level)), true
			}
			entry := straight.index + 1
			for _, c := range anyPuts(r) {
				ns, id := tenancy.NamespaceID(c.GetNamespaceId()), c.GetPut().GetRequestId()
				commands = append(commands, c)
				revision, found := model.find(ns, id)
				if kept = kept || !found; !found {
					revisions[uint64(ns)] = max(revisions[uint64(ns)], 1) + 1
					revision = revisions[uint64(ns)]
					model.keep(entry, now, modelID{ns, id, revision})
				}
				want = append(want, revision)
			}
			if kept {
				model.endEntry(now)
			}
			encoded := encodeEntry(t, now, commands...)
			results := straight.batch([][]byte{encoded})
			for k, revisionWanted := range want {
				require.Equal(r, revisionWanted, revision(t, results[len(results)-len(want)+k]))
			}
			require.Equal(r, model.kept(), straight.machine.KeptAnswers())
			stored, _ := straight.machine.AnswerBytes()
			require.LessOrEqual(r, stored, 6*most*answerBytes, "what is stored")
			if waiting = append(waiting, encoded); rapid.Bool().Draw(r, "cut") {
				restarting.batch(waiting)
				waiting = nil
				running := restarting.machine.AnswersIndex()
				require.Equal(r, straight.machine.AnswersIndex(), running)
				restarting.load()
				require.Equal(r, running, restarting.machine.AnswersIndex(), "loaded anew")
				require.Equal(r, straight.hash(), restarting.hash())
			}
		}
	})
}

// answerBytes is more than the machine counts for the answer to a small put.
const answerBytes = 40

// anyPuts is the puts of an entry: of some namespaces few, of some many, and some
// that were in an entry before.
func anyPuts(r *rapid.T) (puts []*internalv1.Command) {
	for range rapid.IntRange(0, 4).Draw(r, "namespaces") {
		ns := rapid.Uint64Range(1, 5).Draw(r, "namespace")
		for range rapid.SampledFrom([]int{1, 1, 1, 2, 5, 12}).Draw(r, "puts") {
			id := fmt.Sprint(rapid.IntRange(0, 60).Draw(r, "id"))
			puts = append(puts, put(ns, 1, "k", "v", id))
		}
	}
	return puts
}

// Goal: who keeps less than an equal share of what the shard may keep loses nothing
// within ten minutes, whatever the others do. Method: a loud namespace
// writes six times as much as may be kept, and quiet ones among its entries.
func TestQuietNamespacesKeepTheirAnswers(t *testing.T) {
	t.Parallel()
	const most, quiet, loud = 1000, 9, 10
	s := newShard(t)
	s.answersMax = most
	s.load()
	s.entry(1, raise(machine.Level))
	for i := range uint64(200) {
		var commands []*internalv1.Command
		for k := range 30 {
			commands = append(commands, put(loud, 1, "k", "v", fmt.Sprint(i, "-", k)))
		}
		commands = append(commands, put(1+i%quiet, 1, "k", fmt.Sprint(i), fmt.Sprint(i)))
		s.entry(2+i*1000, commands...)
	}
	kept, total := s.machine.KeptAnswers(), 0
	for ns, digests := range kept {
		total += len(digests)
		if ns != loud {
			require.Len(t, digests, (200+quiet-int(ns))/quiet)
		}
	}
	require.LessOrEqual(t, total, most)
	require.Equal(t, most, total, "no more is forgotten than need be")
	stored, keptBytes := s.machine.AnswerBytes()
	require.Less(t, stored, 3*keptBytes)
	for i := range uint64(200) {
		retried := s.entry(300_000, put(1+i%quiet, 1, "k", fmt.Sprint(i), fmt.Sprint(i)))
		require.Equal(t, 2+i/quiet, revision(t, retried[0]))
	}
}

// After an idle time an entry forgets some of what is too old, and not all at once.
func TestForgettingOfOldAnswersIsBounded(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	s.entry(1, raise(machine.Level))
	for i := range uint64(25) {
		var commands []*internalv1.Command
		for k := range 400 {
			commands = append(commands, put(1+i%3, 1, "k", "v", fmt.Sprint(i, "-", k)))
		}
		s.entry(1, commands...)
	}
	total := func() (n int) {
		for _, digests := range s.machine.KeptAnswers() {
			n += len(digests)
		}
		return n
	}
	before := total()
	require.Equal(t, 10_000, before)
	for i := 0; total() > i; {
		i++
		s.entry(700_000, put(4, 1, "k", "v", fmt.Sprint("later", i)))
		forgotten := before + 1 - total()
		require.Positive(t, forgotten)
		require.Less(t, forgotten, machine.AnswersOutlivedMax+400)
		before = total()
	}
}
