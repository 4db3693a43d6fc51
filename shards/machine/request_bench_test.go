package machine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/store"
	"github.com/flotillakv/flotilla/shards/store/storetest"
)

// BenchmarkApplyWithRequestIDs applies group commits of 200 puts on a shard that
// keeps as many answers as it may, so that each entry also forgets some. Its time
// for each put is without making the entries.
func BenchmarkApplyWithRequestIDs(b *testing.B) {
	for _, namespaces := range []uint64{1, 2, 20, 200, 2000} {
		b.Run(fmt.Sprintf("namespaces=%d", namespaces), func(b *testing.B) {
			s := newLoad(b, namespaces)
			for s.kept < loadAnswersMax+loadAnswersMax/4 {
				s.apply()
			}
			s.spent = 0
			for b.Loop() {
				s.apply()
			}
			b.ReportMetric(float64(s.spent.Nanoseconds())/float64(b.N)/loadCommands, "ns/put")
		})
	}
}

const loadCommands, loadAnswersMax = 200, 40_000

// load is a shard that puts with request ids are applied to.
type load struct {
	b          *testing.B
	namespaces uint64
	rng        *rand.Rand
	rows       *store.Shard
	machine    *machine.Machine
	index      uint64
	kept       int
	results    []machine.Result
	spent      time.Duration
}

func newLoad(b *testing.B, namespaces uint64) *load {
	b.Helper()
	cfg := storetest.NewDisk().Config()
	cfg.MemTableBytes, cfg.CacheBytes = 16<<20, 64<<20
	st, err := store.Open(cfg)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, st.Close()) })
	s := &load{b: b, namespaces: namespaces, rng: rand.New(rand.NewPCG(1, 1)), rows: st.Shard(1), machine: machine.New()}
	s.machine.KeepAnswers(loadAnswersMax)
	view := s.rows.NewView()
	_, err = s.machine.Load(view)
	require.NoError(b, errors.Join(err, view.Close()))
	s.run(raise(machine.Level))
	return s
}

func (s *load) apply() {
	puts := make([]*internalv1.Command, loadCommands)
	for i := range puts {
		s.kept++
		ns := 1 + s.rng.Uint64N(s.namespaces)
		if s.namespaces == 2 && i > 0 { // a loud one beside a quiet one
			ns = 2
		}
		puts[i] = put(ns, 1, fmt.Sprint("key", s.kept%10_000), "what a small value looks like", fmt.Sprintf("request-%016x", s.kept))
	}
	s.run(puts...)
}

func (s *load) run(commands ...*internalv1.Command) {
	s.index++
	entry := encodeEntry(s.b, s.index, commands...)
	start := time.Now()
	batch := s.rows.NewBatch()
	var err error
	s.results, err = s.machine.Apply(batch, s.index, entry, s.results[:0])
	require.NoError(s.b, err)
	_, err = s.machine.Finish(batch, nil)
	require.NoError(s.b, err)
	require.NoError(s.b, batch.Commit())
	require.NoError(s.b, batch.Close())
	s.spent += time.Since(start)
}
