package conformance

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// tools are etcd's programs, built with the first use.
var tools struct {
	build sync.Once
	dir   string
	err   error
}

// tool is the path of one of etcd's programs.
func tool(t *testing.T, name string) string {
	t.Helper()
	tools.build.Do(func() {
		//nolint:usetesting // it is there for later tests too
		if tools.dir, tools.err = os.MkdirTemp("", "etcd-tools-"); tools.err != nil {
			return
		}
		var output []byte
		output, tools.err = exec.Command("go", "build", "-o", tools.dir,
			"go.etcd.io/etcd/etcdctl/v3", "go.etcd.io/etcd/etcdutl/v3").CombinedOutput()
		if tools.err != nil {
			t.Logf("%s", output)
		}
	})
	require.NoError(t, tools.err)
	return filepath.Join(tools.dir, name)
}

// etcdctl runs etcdctl with an input, and notes what it printed.
func (w *world) etcdctl(t *testing.T, input string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, callTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool(t, "etcdctl"), w.side.etcdctlArgs(args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	err := cmd.Run()
	w.note("$ etcdctl %s", w.plain(strings.Join(args, " ")))
	w.note("%s", w.plain(stdout.String()))
	if err != nil {
		for line := range strings.Lines(stderr.String()) {
			if strings.HasPrefix(line, "Error: ") {
				w.note("%v: %s", err, w.plain(line))
			}
		}
	}
	return stdout.String()
}

var (
	numbers  = regexp.MustCompile(`[0-9]+`)
	leaseIDs = regexp.MustCompile(`\b[0-9a-f]{15,16}\b`)
	urls     = regexp.MustCompile(`https?://[0-9.]+:[0-9]+`)
	ids      = regexp.MustCompile(`"(ClusterID|MemberID|RaftTerm|Revision)" : [0-9]+`)
	took     = regexp.MustCompile(`took( =)? [0-9.]+[µm]?s`)
)

// watchLines runs an etcdctl that does not end by itself, and notes the first
// lines that it prints.
func (w *world) watchLines(t *testing.T, count int, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, callTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool(t, "etcdctl"), w.side.etcdctlArgs(args...)...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for range count {
		require.True(t, lines.Scan(), "etcdctl ended")
		w.note("%s", w.plain(lines.Text()))
	}
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
}

func (w *world) number(n int64) string { return strconv.FormatInt(n, 10) }

// dropNumbers takes the numbers out of all lines: revisions and remaining times
// that each side has of its own.
func (w *world) dropNumbers() {
	for i, line := range w.lines {
		w.lines[i] = numbers.ReplaceAllString(line, "N")
	}
}

// plain takes out of a text what each side chooses.
func (w *world) plain(text string) string {
	text = strings.ReplaceAll(text, w.prefix, "")
	text = leaseIDs.ReplaceAllString(text, "ID")
	text = urls.ReplaceAllString(text, "URL")
	text = ids.ReplaceAllString(text, `"$1" : N`)
	return took.ReplaceAllString(text, "took")
}

// etcdctlCases are etcd's command line.
func etcdctlCases() []testCase {
	// ctl is a case of several command lines; their keys begin with @.
	ctl := func(name string, commands ...string) testCase {
		return testCase{name: name, run: func(t *testing.T, w *world) {
			for _, command := range commands {
				line, input, _ := strings.Cut(command, " < ")
				var args []string
				for arg := range strings.FieldsSeq(line) {
					args = append(args, strings.ReplaceAll(arg, "@", w.prefix))
				}
				w.etcdctl(t, strings.ReplaceAll(input, "@", w.prefix), args...)
			}
		}}
	}
	return []testCase{
		ctl("put and get", "put @a 1", "get @a", "get @a --print-value-only", "get @nothing", "put @a 2 --prev-kv"),
		ctl("put from stdin", "put @a < value", "get @a"),
		ctl("put ignoring", "put @a 1", "put @a --ignore-value", "put @b --ignore-value", "put @a 1 --ignore-lease", "get @a"),
		ctl("get ranges", "put @a 1", "put @b 2", "put @c 3", "get @ --prefix", "get @a @c", "get @ --prefix --keys-only",
			"get @ --prefix --count-only --write-out=fields", "get @ --prefix --limit=2", "get @ --prefix --sort-by=value --order=DESCEND", "get @ --prefix --sort-by=CREATE --order=ASCEND"),
		ctl("get serializable", "put @a 1", "get @a --consistency=s"),
		ctl("get with nothing right", "get", "get @a --order=SIDEWAYS"),
		ctl("del", "put @a 1", "put @b 2", "del @a --prev-kv", "del @a", "del @ --prefix", "get @ --prefix"),
		ctl("txn", "put @a 1", "txn < value(\"@a\") = \"1\"\n\nput @a 2\nget @a\n\nget @a\n\n", "txn < mod(\"@a\") = \"1\"\n\nput @a 2\n\nget @a\n\n",
			"txn < version(\"@a\") > \"1\"\nlease(\"@a\") = \"0\"\n\ndel @a\n\n\n"),
		{name: "get an old revision", run: func(t *testing.T, w *world) {
			w.put(t, "a=1", "a=2")
			w.etcdctl(t, "", "get", w.key("a"), "--rev", w.number(w.base+1))
			w.dropNumbers()
		}},
		{name: "compact", run: func(t *testing.T, w *world) {
			w.put(t, "a=1", "a=2", "a=3")
			for _, args := range [][]string{
				{"compaction", w.number(w.base + 2)},
				{"compaction", w.number(w.base + 1)},
				{"compaction", w.number(w.base + 3), "--physical"},
				{"compaction", w.number(w.base + 1000)},
				{"get", w.key("a"), "--rev", w.number(w.base + 1)},
			} {
				w.etcdctl(t, "", args...)
			}
			w.dropNumbers()
		}},
		{name: "watch", run: func(t *testing.T, w *world) {
			w.put(t, "a=1", "a=2")
			_, err := w.client.Delete(w.ctx, w.key("a"))
			require.NoError(t, err)
			w.watchLines(t, 9, "watch", w.prefix, "--prefix", "--rev", w.number(w.base+1))
			w.watchLines(t, 13, "watch", w.prefix, "--prefix", "--prev-kv", "--rev", w.number(w.base+1))
		}},
		{name: "lease", run: func(t *testing.T, w *world) {
			granted := w.etcdctl(t, "", "lease", "grant", "100")
			id := leaseIDs.FindString(granted)
			w.etcdctl(t, "", "put", w.key("a"), "1", "--lease="+id)
			w.etcdctl(t, "", "lease", "keep-alive", "--once", id)
			w.etcdctl(t, "", "lease", "revoke", id)
			w.etcdctl(t, "", "get", w.key("a"))
			w.etcdctl(t, "", "lease", "revoke", id)
			w.etcdctl(t, "", "lease", "timetolive", id)
			w.etcdctl(t, "", "put", w.key("a"), "1", "--lease="+id)
			w.dropNumbers()
		}},
		{name: "lock", run: func(t *testing.T, w *world) { w.etcdctl(t, "", "lock", w.key("l"), "echo", "held") }},
		{name: "elect", run: func(t *testing.T, w *world) {
			require.NoError(t, concurrency.NewElection(session(t, w), w.key("e")).Campaign(w.ctx, "somebody"))
			w.watchLines(t, 2, "elect", "--listen", w.key("e"))
		}},
		ctl("endpoint health", "endpoint health"),
		{name: "endpoint status", run: func(t *testing.T, w *world) {
			status := w.etcdctl(t, "", "endpoint", "status", "--write-out=fields")
			w.lines = nil
			for line := range strings.Lines(status) {
				name, _, _ := strings.Cut(line, ":")
				w.note("%s", strings.TrimSpace(name))
			}
		}},
		{name: "member list", run: func(t *testing.T, w *world) {
			list := w.etcdctl(t, "", "member", "list", "--write-out=fields")
			w.lines = nil
			for line := range strings.Lines(list) {
				name, _, _ := strings.Cut(line, ":")
				w.note("%s", strings.TrimSpace(name))
			}
		}},
		ctl("alarm list", "alarm list", "alarm disarm"),
		ctl("defrag", "defrag"),
		{name: "snapshot save and restore", run: func(t *testing.T, w *world) {
			w.put(t, "a=1", "b=2", "a=3")
			_, err := w.client.Delete(w.ctx, w.key("b"))
			require.NoError(t, err)
			file, restored := dataDir(t, "snapshot.db"), dataDir(t, "restored")
			cmd := exec.CommandContext(w.ctx, tool(t, "etcdctl"), w.side.etcdctlArgs("snapshot", "save", file)...)
			output, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", output)
			output, err = exec.CommandContext(w.ctx, tool(t, "etcdutl"), "snapshot", "status", file).CombinedOutput()
			require.NoError(t, err, "%s", output)
			output, err = exec.CommandContext(w.ctx, tool(t, "etcdutl"), "snapshot", "restore", file, "--data-dir", restored).CombinedOutput()
			require.NoError(t, err, "%s", output)
			again := world{transcript: transcript{prefix: w.prefix, base: w.base}, side: startEtcdOn(t, restored), ctx: w.ctx}
			again.client = again.side.connect(t)
			got, err := again.client.Get(w.ctx, w.prefix, clientv3.WithPrefix())
			w.answer("restored", (*pb.RangeResponse)(got), err)
		}},
	}
}
