package store

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// scenario runs the commands of testdata/scenarios on one store.
type scenario struct {
	files     *vfs.MemFS
	store     *Store
	snapshots map[string][]byte
}

func TestScenarios(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/scenarios", func(t *testing.T, path string) {
		t.Helper()
		s := &scenario{files: vfs.NewCrashableMem(), snapshots: map[string][]byte{}}
		s.store = openStore(t, testConfig(s.files))
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			return s.run(t, d)
		})
	})
}

func (s *scenario) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	switch d.Cmd {
	case "flush":
		return answer(s.store.Flush(t.Context()))
	case "crash": // what was not synced is gone
		s.files = s.files.CrashClone(vfs.CrashCloneCfg{})
		s.store = openStore(t, testConfig(s.files))
		return "ok"
	}
	var id uint64
	d.ScanArgs(t, "shard", &id)
	sh := s.store.Shard(id)
	switch d.Cmd {
	case "batch": // shard=N [abandon], one write a line
		return s.batch(t, sh, d)
	case "get": // shard=N key=K at=R
		view := sh.NewView()
		defer closeView(t, view)
		rev, value, ok, err := view.Namespace(1).Version([]byte(arg(t, d, "key")), revision(t, d))
		require.NoError(t, err)
		if !ok {
			return "none"
		}
		return fmt.Sprintf("%s at %d", value, rev)
	case "range": // shard=N at=R [start=K] [end=K] [descending]
		view := sh.NewView()
		defer closeView(t, view)
		return printVersions(t, view.Namespace(1), d)
	case "events": // shard=N at=R
		view := sh.NewView()
		defer closeView(t, view)
		return printEvents(t, view.Namespace(1), revision(t, d))
	case "save": // shard=N name=X
		s.snapshots[arg(t, d, "name")] = streamOf(t, sh)
		return "ok"
	case "restore": // shard=N name=X [bytes=N, to cut it short]
		stream := s.snapshots[arg(t, d, "name")]
		if d.HasArg("bytes") {
			var n int
			d.ScanArgs(t, "bytes", &n)
			stream = stream[:n]
		}
		return answer(sh.Restore(bytes.NewReader(stream), nil))
	case "destroy": // shard=N
		return answer(sh.Destroy())
	}
	d.Fatalf(t, "unknown command %s", d.Cmd)
	return ""
}

// batch runs the lines of a batch, each `put KEY REVISION VALUE`,
// `remove KEY REVISION`, `event REVISION SUB KEY` or `range`.
func (s *scenario) batch(t *testing.T, sh *Shard, d *datadriven.TestData) string {
	t.Helper()
	b := sh.NewBatch()
	ns := b.Namespace(tenancy.NamespaceID(1))
	var out strings.Builder
	for line := range strings.Lines(d.Input) {
		var key, value string
		var rev mvcc.Revision
		var sub uint32
		switch verb, rest, _ := strings.Cut(strings.TrimSpace(line), " "); verb {
		case "put":
			scanLine(t, rest, &key, &rev, &value)
			require.NoError(t, ns.PutVersion([]byte(key), rev, []byte(value)))
		case "remove":
			scanLine(t, rest, &key, &rev)
			require.NoError(t, ns.DeleteVersion([]byte(key), rev))
		case "event":
			scanLine(t, rest, &rev, &sub, &key)
			require.NoError(t, ns.PutEvent(rev, sub, []byte(key)))
		case "range":
			out.WriteString(printVersions(t, ns, d))
		default:
			d.Fatalf(t, "unknown line %s", line)
		}
	}
	if d.HasArg("abandon") {
		require.NoError(t, b.Close())
		return out.String() + "abandoned"
	}
	require.NoError(t, b.Commit())
	require.NoError(t, b.Close())
	return out.String() + "committed"
}

func closeView(t *testing.T, view *View) {
	t.Helper()
	require.NoError(t, view.Close())
}

func scanLine(t *testing.T, line string, into ...any) {
	t.Helper()
	_, err := fmt.Sscan(line, into...)
	require.NoError(t, err, line)
}

func arg(t *testing.T, d *datadriven.TestData, name string) string {
	t.Helper()
	var value string
	d.ScanArgs(t, name, &value)
	return value
}

func revision(t *testing.T, d *datadriven.TestData) mvcc.Revision {
	t.Helper()
	var at uint64
	d.ScanArgs(t, "at", &at)
	return mvcc.Revision(at)
}

func answer(err error) string {
	if err != nil {
		return err.Error()
	}
	return "ok"
}

func printVersions(t *testing.T, r mvcc.Reader, d *datadriven.TestData) string {
	t.Helper()
	var start, end string
	d.MaybeScanArgs(t, "start", &start)
	d.MaybeScanArgs(t, "end", &end)
	it := r.Versions([]byte(start), []byte(end), revision(t, d), d.HasArg("descending"))
	var out strings.Builder
	for it.Next() {
		value, err := it.Value()
		require.NoError(t, err)
		fmt.Fprintf(&out, "%s = %s at %d\n", it.Key(), value, it.Revision())
	}
	require.NoError(t, it.Close())
	return out.String()
}

func printEvents(t *testing.T, r mvcc.Reader, from mvcc.Revision) string {
	t.Helper()
	it := r.Events(from)
	var out strings.Builder
	for it.Next() {
		fmt.Fprintf(&out, "%d.%d %s\n", it.Revision(), it.Sub(), it.Key())
	}
	require.NoError(t, it.Close())
	return out.String()
}
