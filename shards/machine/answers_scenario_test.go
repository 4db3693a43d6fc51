package machine_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/tenancy"
)

// TestKeptAnswerScenarios runs testdata/answers: stories of a shard that keeps few
// answers to request ids.
//
//	shard     answers=N
//	entry     at=SECONDS, with lines of commands, which are one log entry:
//	          put namespace=N id=ID [times=N]   with ids ID1, ID2, and so on
//	          level N
//	          drop namespace=N
//	restart
//
// What follows is what each put was told, and which ids of which namespace are kept
// then, oldest first.
func TestKeptAnswerScenarios(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/answers", func(t *testing.T, path string) {
		t.Helper()
		t.Parallel()
		s := &answersScenario{ids: map[string]string{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			return s.run(t, d)
		})
	})
}

type answersScenario struct {
	shard *shard
	ids   map[string]string // by digest
}

func (s *answersScenario) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	switch d.Cmd {
	case "shard":
		s.shard = newShard(t)
		d.ScanArgs(t, "answers", &s.shard.answersMax)
		s.shard.load()
	case "restart":
		s.shard.load()
	case "entry":
		var at uint64
		d.ScanArgs(t, "at", &at)
		var commands []*internalv1.Command
		for line := range strings.Lines(d.Input) {
			commands = append(commands, s.commands(t, line)...)
		}
		return told(t, s.shard.entry(at*1000, commands...)) + s.kept()
	default:
		require.Fail(t, "unknown command", d.Cmd)
	}
	return s.kept()
}

func (s *answersScenario) commands(t *testing.T, line string) []*internalv1.Command {
	t.Helper()
	command, args, err := datadriven.ParseLine(line)
	require.NoError(t, err)
	d := datadriven.TestData{Pos: line, Cmd: command, CmdArgs: args}
	var ns uint64
	switch command {
	case "level":
		level, err := strconv.ParseUint(args[0].Key, 10, 32)
		require.NoError(t, err)
		return []*internalv1.Command{raise(uint32(level))}
	case "drop":
		d.ScanArgs(t, "namespace", &ns)
		return []*internalv1.Command{drop(ns, 2, 100)}
	default:
		require.Equal(t, "put", command)
		d.ScanArgs(t, "namespace", &ns)
		var id string
		d.ScanArgs(t, "id", &id)
		var times int
		if !d.MaybeScanArgs(t, "times", &times) {
			return []*internalv1.Command{s.put(ns, id)}
		}
		var puts []*internalv1.Command
		for i := range times {
			puts = append(puts, s.put(ns, fmt.Sprint(id, i+1)))
		}
		return puts
	}
}

func (s *answersScenario) put(ns uint64, id string) *internalv1.Command {
	s.ids[machine.RequestDigest(tenancy.NamespaceID(ns), id)] = id
	return put(ns, 1, "k", "v", id)
}

// told is the revisions that puts were answered with.
func told(t *testing.T, results []machine.Result) string {
	t.Helper()
	var out strings.Builder
	for i, r := range results {
		switch response := r.Response.(type) {
		case interface{ GetRevision() uint64 }:
			fmt.Fprintf(&out, "%d ", response.GetRevision())
		default:
			require.NoError(t, r.Err, i)
		}
	}
	if out.Len() == 0 {
		return ""
	}
	return "revisions " + strings.TrimSpace(out.String()) + "\n"
}

func (s *answersScenario) kept() string {
	kept := s.shard.machine.KeptAnswers()
	if len(kept) == 0 {
		return "nothing is kept\n"
	}
	var out strings.Builder
	for _, ns := range slices.Sorted(maps.Keys(kept)) {
		fmt.Fprintf(&out, "%d:", ns)
		for _, digest := range kept[ns] {
			out.WriteString(" " + s.ids[digest])
		}
		out.WriteByte('\n')
	}
	return out.String()
}
