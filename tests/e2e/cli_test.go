package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tests/process"
)

// The exit codes that the command line promises.
const (
	done     = 0
	failed   = 1
	usage    = 2
	notFound = 3
	denied   = 4
	tryAgain = 5
)

func TestCommandLine(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	home := node.Home
	for _, tt := range []struct {
		args  string // split at spaces; ~ stands for a space inside an argument
		input string
		code  int
		want  string // in stdout, or in stderr of what fails
	}{
		{args: "kv put a 1", want: "revision 2"},
		{args: "kv put b -", input: "two\nlines\n", want: "revision 3"},
		{args: "kv get a", want: "1"},
		{args: "kv get b", want: "two\nlines\n"},
		{args: "kv get a -o json", want: `"value":"1"`},
		{args: "kv put a 2 --prev-kv -o json", want: `"revision":"4"`},
		{args: "kv get a --revision 2", want: "1"},
		{args: "kv put a 3 --if-revision 2", code: failed, want: "revision"},
		{args: "kv put a 3 --if-absent", code: failed, want: "exists"},
		{args: "kv put none 3 --if-exists", code: notFound, want: "not exist"},
		{args: "kv get none", code: notFound, want: `"none" does not exist`},
		{args: "kv range --prefix a", want: "KEY"},
		{args: "kv range --keys-only -o json", want: `"key":"b"`},
		{args: "kv range --count", want: "2\n"},
		{args: "kv txn --if absent(c) --then put~c~1 --else get~c", want: "ran then, revision 5"},
		{args: "kv txn --if absent(c) --then put~c~1 --else get~c -o json", want: `"succeeded":false`},
		{args: "kv txn --then put~c~1 --then put~c~2", code: usage, want: "twice"},
		{args: "kv txn --if nonsense", code: usage, want: "field(key) relation value"},
		{args: "kv compact 4", want: "compacted"},
		{args: "kv get a --revision 2", code: failed, want: "compact"},
		{args: "kv get a --revision 99", code: failed, want: "in the future"},
		{args: "kv delete a", want: "1 removed, revision 6"},
		{args: "kv delete a -o json", want: `"deleted":"0"`},
		{args: "kv delete --prefix b --yes", want: "1 removed"},
		{args: "kv delete", code: usage, want: "--prefix"},
		{args: "kv watch c --from 5 --count 1", want: "5 put c 1\n"},
		{args: "kv watch --from 6 --count 2 -o json --prev", want: `{"type":"delete","kv":{"key":"a","create_revision":"0","mod_revision":"6","version":"0"},"prev_kv":{"key":"a","value":"2"`},
		{args: "kv watch --from 6 --count 1 --no-delete=false --end b", want: "6 delete a\n"},
		{args: "kv watch a --from 2", code: failed, want: "compact revision is 4"},
		{args: "kv watch a --prefix b", code: usage, want: "not both"},
		{args: "kv watch a -n none", code: notFound, want: "namespace"},
		{args: "namespace create n-1 n-2", want: "n-1\nn-2\n"},
		{args: "namespace create n-2 n-3", code: failed, want: "n-2"},
		{args: "namespace create Bad_Name", code: usage, want: "Bad_Name"},
		{args: "namespace list", want: "n-2"},
		{args: "namespace list -o json", want: `"name":"default"`},
		{args: "kv put a other -n n-1", want: "revision 2"},
		{args: "kv get a -n n-3", code: notFound, want: "namespace"},
		{args: "kv get a -o yaml", code: usage, want: "table or json"},
		{args: "kv get", code: usage, want: "Usage"},
		{args: "kv nonsense", code: usage, want: "unknown command"},
		{args: "nonsense", code: usage, want: "unknown command"},
		{args: "kv get a --api-key flk_wrong", code: denied, want: "API key"},
		{args: "kv get a --api-url http://127.0.0.1:1 --api-key k", code: tryAgain, want: "connection refused"},
		{args: "kv get a --api-url nonsense --api-key k", code: failed, want: "http://host:port"},
		{args: "version", want: "flotilla"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			args := strings.Fields(tt.args)
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "~", " ")
			}
			got := home.RunWithInput(t, tt.input, args...)
			require.Equal(t, tt.code, got.Code, "%s%s", got.Stdout, got.Stderr)
			if tt.code == done {
				require.Contains(t, got.Stdout, tt.want)
				require.Empty(t, got.Stderr)
				return
			}
			require.Contains(t, got.Stderr, tt.want)
			require.Empty(t, got.Stdout)
		})
	}
	t.Run("key create, list and revoke", func(t *testing.T) { keyCommands(t, node) })
}

func keyCommands(t *testing.T, node *process.Process) {
	t.Helper()
	created := node.Home.Run(t, "key", "create", "--description", "for a test")
	require.Zero(t, created.Code, created.Stderr)
	secret := strings.TrimSpace(created.Stdout)
	require.True(t, strings.HasPrefix(secret, "flk_"))
	own := node.Home.With("FLOTILLA_API_KEY=" + secret)
	require.Zero(t, own.Run(t, "kv", "put", "k", "v").Code)

	listed := node.Home.Run(t, "key", "list", "-o", "json")
	require.Zero(t, listed.Code)
	require.NotContains(t, listed.Stdout, secret)
	var keys []struct{ ID, Description string }
	require.NoError(t, json.Unmarshal([]byte(listed.Stdout), &keys))
	require.Len(t, keys, 2)
	for _, key := range keys {
		if key.Description == "for a test" {
			require.Zero(t, node.Home.Run(t, "key", "revoke", key.ID).Code)
			require.Equal(t, notFound, node.Home.Run(t, "key", "revoke", key.ID).Code)
		}
	}
	require.Equal(t, denied, own.Run(t, "kv", "get", "k").Code)

	last := strings.Split(node.Info.APIKey, "_")[1]
	refused := node.Home.Run(t, "key", "revoke", last)
	require.Equal(t, failed, refused.Code)
	require.Contains(t, refused.Stderr, "last API key")
	require.Equal(t, usage, node.Home.Run(t, "key", "revoke", "nonsense").Code)
}
